"""One short module per task."""
