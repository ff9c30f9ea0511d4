"""Metrics as functions and torchmetrics classes: top-k error, class accuracy, average precision."""

from convlens.metrics.average_precision import MeanAP, VocAP, average_precision, mean_average_precision
from convlens.metrics.class_accuracy import ClassAccuracies, ClassAccuracy, MeanClassAccuracy, mean_class_accuracy
from convlens.metrics.topk_error import TopKError, in_top_k

__all__ = [
    "ClassAccuracies",
    "ClassAccuracy",
    "MeanAP",
    "MeanClassAccuracy",
    "TopKError",
    "VocAP",
    "average_precision",
    "in_top_k",
    "mean_average_precision",
    "mean_class_accuracy",
]
