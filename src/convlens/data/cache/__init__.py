"""The cache of decoded images: building, reading, and the rows of splits and protocols."""
