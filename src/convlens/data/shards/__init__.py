"""Shards of packed images."""
