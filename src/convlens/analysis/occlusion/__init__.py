"""Occlusion sensitivity (Fig 7)."""
