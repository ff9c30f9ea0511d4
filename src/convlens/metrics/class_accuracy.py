"""Mean accuracy per class in percent, which small classes weigh in as much as large ones (paper, Tables 4 and 5)."""

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
        per_class: NaN for a class without an image.
        mean: over the others; NaN where there is none.
    """

    per_class: Float[Tensor, " classes"]
    mean: float


def mean_class_accuracy(predicted: Int[Tensor, " n"], labels: Int[Tensor, " n"], classes: int) -> ClassAccuracies:
    """Share of the images of each class that are predicted right, in percent, and the mean over the classes."""
    per_class = shares(labels[predicted == labels].bincount(minlength=classes), labels.bincount(minlength=classes))
    return ClassAccuracies(per_class, float(per_class.nanmean()))


def shares(right: Int[Tensor, " classes"], total: Int[Tensor, " classes"]) -> Float[Tensor, " classes"]:
    """Percent of each class; NaN where it has no image."""
    return 100.0 * right / total


class ClassAccuracy(Metric):
    """Top-1 accuracy of each class over all images seen, in percent; an image with a NaN score counts as wrong.

    There are as many classes as scores of an image, which the first batch shows.
    """

    full_state_update = False
    right: Tensor
    total: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("right", torch.zeros(0, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("total", torch.zeros(0, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, scores: Float[Tensor, "n classes"], labels: Int[Tensor, " n"]) -> None:
        """Take in a batch."""
        classes = scores.shape[1]
        if not len(self.total):
            self.right, self.total = (F.pad(state, (0, classes)) for state in (self.right, self.total))
        # Not bincount, which has no deterministic form on CUDA.
        members = F.one_hot(labels, classes)
        self.right += members[in_top_k(scores, labels, 1)].sum(0)
        self.total += members.sum(0)

    def compute(self) -> Tensor:
        """The accuracy of each class."""
        return shares(self.right, self.total)


class MeanClassAccuracy(ClassAccuracy):
    """The mean of the accuracies of all classes that have an image, in percent."""

    def compute(self) -> Tensor:
        """The mean over the classes."""
        return super().compute().nanmean()
