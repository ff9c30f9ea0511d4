"""Files: written whole, hashed, locked."""
