"""Linear probes: L2-regularized linear classifiers on fixed features."""
