"""The built-in images of creatures with known parts, drawn from random numbers."""
