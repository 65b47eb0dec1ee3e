"""The terminal app: it shows pictures and knows no array. Importing this package imports nothing."""
