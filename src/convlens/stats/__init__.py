"""Statistics, claims and the paper's numbers."""
