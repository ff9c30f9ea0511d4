"""Image indexes, splits and evaluation protocols."""
