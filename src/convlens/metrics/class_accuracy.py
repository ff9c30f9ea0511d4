"""Accuracy per class and its mean over the classes, in percent (paper, Tables 4 and 5)."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric

from convlens.metrics.topk_error import in_top_k


class ClassAccuracies(NamedTuple):
    """Accuracies in percent.

    Attributes:
        per_class: accuracy of each class; NaN for a class without an image.
        mean: their mean without NaN; NaN if no class has an image.
    """

    per_class: Float[Tensor, " classes"]
    mean: float


def mean_class_accuracy(predicted: Int[Tensor, " n"], labels: Int[Tensor, " n"], classes: int) -> ClassAccuracies:
    """Return the percentage of correctly predicted images of each class, and the mean over the classes."""
    per_class = percentages(labels[predicted == labels].bincount(minlength=classes), labels.bincount(minlength=classes))
    return ClassAccuracies(per_class, float(per_class.nanmean()))


def percentages(right: Int[Tensor, " classes"], total: Int[Tensor, " classes"]) -> Float[Tensor, " classes"]:
    """Return the percentage of each class; NaN for a class without an image."""
    return 100.0 * right / total


class ClassAccuracy(Metric):
    """Top-1 accuracy of each class over all images, in percent; an image with a NaN score counts as wrong.

    The number of classes is that of the first batch's scores.
    """

    full_state_update = False
    right: Tensor
    total: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("right", torch.zeros(0, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("total", torch.zeros(0, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, scores: Float[Tensor, "n classes"], labels: Int[Tensor, " n"]) -> None:
        """Add a batch."""
        classes = scores.shape[1]
        if not len(self.total):
            self.right, self.total = (F.pad(state, (0, classes)) for state in (self.right, self.total))
        # One-hot, since bincount is not deterministic on CUDA.
        members = F.one_hot(labels, classes)
        self.right += members[in_top_k(scores, labels, 1)].sum(0)
        self.total += members.sum(0)

    def compute(self) -> Tensor:
        """Return the accuracy of each class, [classes]."""
        return percentages(self.right, self.total)


class MeanClassAccuracy(ClassAccuracy):
    """Mean of the accuracies of all classes that have an image, in percent."""

    def compute(self) -> Tensor:
        """Return the mean over the classes."""
        return super().compute().nanmean()
