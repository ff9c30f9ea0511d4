"""Incremental evaluation: the outputs of a network for many local changes of one image."""
