"""Diagnosis of the first layers (Fig 6)."""
