"""Average precision of PASCAL VOC (paper, Table 6), by the rule of 2010 (all points) or that of 2007 (eleven)."""

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
        per_class: NaN for a class without a positive image.
        mean: over the others; NaN where there is none.
    """

    per_class: Float[Tensor, " classes"]
    mean: float


def average_precision(scores: Float[Tensor, " n"], truth: Int[Tensor, " n"], points: str = "all") -> float:
    """Average precision of one class in percent; NaN without a positive image.

    Images of the same score are one threshold: the devkit's result would depend on the order in which they come.

    Args:
        scores: how sure the classifier is that the class is there.
        truth: 1 where it is, -1 where it is not, 0 where it is difficult: left out, as in the devkit.
        points: ``all``: the area below precision as a function of recall, precision made monotone (VOC since 2010);
            ``eleven``: the mean of the best precision at recalls of at least 0, 0.1, ..., 1 (VOC 2007).

    Raises:
        InputError: a score is NaN, a truth is none of these, or ``points`` is unknown.
    """
    check(scores, truth, points)
    # In double precision, which not every device has; n numbers are quickly moved.
    scores, truth = scores.detach().cpu().double(), truth.cpu()
    scores, truth = scores[truth != 0], truth[truth != 0]
    positives = int((truth == 1).sum())
    if not positives:
        return float("nan")
    order = scores.argsort(descending=True)
    scores, hits = scores[order], (truth[order] == 1).cumsum(0)
    last_of_score = torch.cat([scores[1:] != scores[:-1], torch.tensor([True])])
    found = hits[last_of_score].double()
    taken = (last_of_score.nonzero()[:, 0] + 1).double()
    # Monotone: at each recall the best precision of this and all greater recalls.
    precision = (found / taken).flip(0).cummax(0).values.flip(0)
    if points == "all":
        gained = found.diff(prepend=found.new_zeros(1)) / positives
        return 100 * float((gained * precision).sum())
    # In whole numbers: 0.3 as a float is above the recall 3 of 10.
    reached = [precision[10 * found >= tenth * positives] for tenth in range(11)]
    return 100 * sum(float(best[0]) for best in reached if len(best)) / 11


def mean_average_precision(
    scores: Float[Tensor, "n classes"], truth: Int[Tensor, "n classes"], points: str = "all"
) -> MeanAP:
    """Average precision of each class, and their mean; see `average_precision`."""
    columns = zip(scores.unbind(1), truth.unbind(1), strict=True)
    per_class = torch.tensor([average_precision(*column, points) for column in columns], dtype=torch.float64)
    return MeanAP(per_class, float(per_class.nanmean()))


def check(scores: Float[Tensor, "*shape"], truth: Int[Tensor, "*shape"], points: str) -> None:
    """Sees to it that there is something to sort by.

    Raises:
        InputError: as `average_precision`.
    """
    if points not in POINTS:
        raise InputError(f"points={points!r}: choose one of {', '.join(POINTS)}")
    if scores.isnan().any():
        raise InputError(f"{int(scores.isnan().sum())} scores are NaN: has the network diverged?")
    if not ((truth >= -1) & (truth <= 1)).all():
        raise InputError("a truth is neither 1 (there), -1 (not there) nor 0 (difficult, left out)")


class VocAP(Metric):
    """Mean average precision over all images seen, in percent; it keeps the scores, n times classes numbers."""

    full_state_update = False
    scores: list[Tensor]
    truth: list[Tensor]

    def __init__(self, points: str = "all", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if points not in POINTS:
            raise InputError(f"points={points!r}: choose one of {', '.join(POINTS)}")
        self.points = points
        self.add_state("scores", [], dist_reduce_fx="cat")
        self.add_state("truth", [], dist_reduce_fx="cat")

    def update(self, scores: Float[Tensor, "n classes"], truth: Int[Tensor, "n classes"]) -> None:
        """Take in a batch."""
        check(scores, truth, self.points)
        self.scores.append(scores.detach())
        self.truth.append(truth)

    def compute(self) -> Tensor:
        """The mean over the classes in percent; NaN without a positive image."""
        return torch.tensor(self.per_class().mean)

    def per_class(self) -> MeanAP:
        """Each class and the mean, of what this process has seen."""
        return mean_average_precision(dim_zero_cat(self.scores), dim_zero_cat(self.truth), self.points)
