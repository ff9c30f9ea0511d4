"""Invariance to translation, scale and rotation (Fig 5)."""
