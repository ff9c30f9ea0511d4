"""Correspondence of object parts (Table 1)."""
