"""Analyses of a trained network: tensors in, small dataclasses of tensors out."""
