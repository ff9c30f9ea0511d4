"""Measures: pure functions and torchmetrics classes over them."""

from convlens.metrics.error import TopKError, in_top_k

__all__ = ["TopKError", "in_top_k"]
