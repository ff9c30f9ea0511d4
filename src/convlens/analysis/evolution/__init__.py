"""Evolution of features during training (section 4, Fig 4)."""
