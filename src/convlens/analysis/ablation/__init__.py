"""Ablations (Table 3)."""
