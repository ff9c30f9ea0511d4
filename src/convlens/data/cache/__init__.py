"""The cache of decoded images."""
