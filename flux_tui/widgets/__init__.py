"""The parts of the screen: data comes down by call, news goes up by message. One widget, one file."""
