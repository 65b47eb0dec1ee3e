"""What the app asks of the terminal beside text: its abilities, pictures, the clipboard, a call for attention."""
