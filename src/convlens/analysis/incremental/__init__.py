"""Incremental evaluation of a changed image region."""
