"""The result of one fit of the grid: a probe's test scores, and how its C was chosen on the training images."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import nan
from typing import NamedTuple

from jaxtyping import Int64
from torch import Tensor

from convlens.ops.tensor_repr import summary
from convlens.transfer.targets import Metrics


class GridPoint(NamedTuple):
    """One fit of the grid.

    Attributes:
        layer: name of the layer.
        probe: ``svm``, ``softmax`` or ``sigmoid``.
        images_per_class: number of training images of each class; None is all training images.
        fold: number of the fold, from 0.
    """

    layer: str
    probe: str
    images_per_class: int | None
    fold: int


@dataclass(frozen=True)
class ProbeResult:
    """A fitted and tested probe.

    Attributes:
        point: layer, probe, images per class and fold.
        C: regularization constant of the fit.
        cv_scores: score in percent, cross-validated on the training images, of each C that was tried; of a C that was
            given, that of the first part. Empty if each class has a single training image.
        metrics: scores of the test images.
        num_train: number of training images.
        test: rows of the test images.
        seconds: time of the search of C and of the fit.
    """

    point: GridPoint
    C: float
    cv_scores: Mapping[float, float]
    metrics: Metrics
    num_train: int
    test: Int64[Tensor, " m"]
    seconds: float

    __repr__ = summary

    @property
    def cv_score(self) -> float:
        """Score of the training images that were held out of a fit with this C, in percent; NaN if there were none."""
        return self.cv_scores.get(self.C, nan)
