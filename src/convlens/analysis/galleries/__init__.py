"""Galleries of feature maps: the strongest activations, projected to the pixels (paper, Fig 2)."""
