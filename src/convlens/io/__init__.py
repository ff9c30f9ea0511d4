"""Files: atomic writes, digests, locks, arrays and tables."""
