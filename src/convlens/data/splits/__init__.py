"""Splits of a data set."""
