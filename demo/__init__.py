"""The data and the training of the tiny demo model: procedural landscapes and their captions."""
