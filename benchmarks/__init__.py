"""How quick and how quiet the app is: one script for each question, each a command of its own; see README.md."""
