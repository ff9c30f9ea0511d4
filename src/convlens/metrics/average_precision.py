"""Average precision of PASCAL VOC (paper, Table 6), over all points (VOC 2010) or eleven (VOC 2007)."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from convlens.errors import InputError

POINTS = ("all", "eleven")


class MeanAP(NamedTuple):
    """Average precisions in percent.

    Attributes:
        per_class: average precision of each class; NaN for a class without a positive image.
        mean: their mean without NaN; NaN if no class has a positive image.
    """

    per_class: Float[Tensor, " classes"]
    mean: float


def average_precision(scores: Float[Tensor, " n"], truth: Int[Tensor, " n"], points: str = "all") -> float:
    """Return the average precision of one class in percent; NaN without a positive image.

    Images with the same score share a threshold; the devkit's result depends on their order.

    Args:
        scores: confidence that an image contains the class.
        truth: 1 for images with the class, -1 for images without it, 0 for difficult ones, which are left out as in
            the devkit.
        points: ``all`` is the area below precision as a function of recall, with precision made monotone (VOC since
            2010); ``eleven`` is the mean of the best precision at recalls of at least 0, 0.1, ..., 1 (VOC 2007).

    Raises:
        InputError: a score is NaN, a truth is none of these, or ``points`` is unknown.
    """
    check_points(points)
    check(scores, truth)
    # On the CPU, since not every device has double precision.
    scores, truth = scores.detach().cpu().double(), truth.cpu()
    scores, truth = scores[truth != 0], truth[truth != 0]
    positives = int((truth == 1).sum())
    if not positives:
        return float("nan")
    order = scores.argsort(descending=True)
    scores, hits = scores[order], (truth[order] == 1).cumsum(0)
    last_of_score = torch.cat([scores[1:] != scores[:-1], torch.tensor([True])])
    retrieved = hits[last_of_score].double()
    ranked = (last_of_score.nonzero()[:, 0] + 1).double()
    # Monotone: at each recall the best precision of this and all greater recalls.
    precision = (retrieved / ranked).flip(0).cummax(0).values.flip(0)
    if points == "all":
        recall_steps = retrieved.diff(prepend=retrieved.new_zeros(1)) / positives
        return 100 * float((recall_steps * precision).sum())
    # Compared as integers, since 0.3 as a float is above a recall of 3 of 10.
    at_recall = [precision[10 * retrieved >= tenth * positives] for tenth in range(11)]
    return 100 * sum(float(best[0]) for best in at_recall if len(best)) / 11


def mean_average_precision(
    scores: Float[Tensor, "n classes"], truth: Int[Tensor, "n classes"], points: str = "all"
) -> MeanAP:
    """Return the average precision of each class and their mean; see `average_precision`."""
    columns = zip(scores.unbind(1), truth.unbind(1), strict=True)
    per_class = torch.tensor([average_precision(*column, points) for column in columns], dtype=torch.float64)
    return MeanAP(per_class, float(per_class.nanmean()))


def check_points(points: str) -> None:
    """Raise InputError if ``points`` is unknown."""
    if points not in POINTS:
        raise InputError(f"points={points!r}: choose one of {', '.join(POINTS)}")


def check(scores: Float[Tensor, "*shape"], truth: Int[Tensor, "*shape"]) -> None:
    """Raise InputError if a score is NaN or a truth is not 1, -1 or 0."""
    if scores.isnan().any():
        raise InputError(f"{int(scores.isnan().sum())} scores are NaN: has the network diverged?")
    if not ((truth >= -1) & (truth <= 1)).all():
        raise InputError("a truth is neither 1 (positive), -1 (negative) nor 0 (difficult, left out)")


class VocAP(Metric):
    """Mean average precision over all images, in percent; the scores of all images are stored."""

    full_state_update = False
    scores: list[Tensor]
    truth: list[Tensor]

    def __init__(self, points: str = "all", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_points(points)
        self.points = points
        self.add_state("scores", [], dist_reduce_fx="cat")
        self.add_state("truth", [], dist_reduce_fx="cat")

    def update(self, scores: Float[Tensor, "n classes"], truth: Int[Tensor, "n classes"]) -> None:
        """Add a batch."""
        check(scores, truth)
        self.scores.append(scores.detach())
        self.truth.append(truth)

    def compute(self) -> Tensor:
        """Return the mean over the classes in percent; NaN without a positive image."""
        return torch.tensor(self.per_class().mean)

    def per_class(self) -> MeanAP:
        """Return the average precisions over this process's images."""
        return mean_average_precision(dim_zero_cat(self.scores), dim_zero_cat(self.truth), self.points)
