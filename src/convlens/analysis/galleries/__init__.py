"""Top-9 galleries of feature maps (Fig 2)."""
