"""What images show, what a probe is to give for them, and how good its scores are."""

from dataclasses import dataclass

from jaxtyping import Float, Int8, Int64
from torch import Tensor

from convlens.errors import InputError
from convlens.metrics.average_precision import POINTS, mean_average_precision
from convlens.metrics.class_accuracy import mean_class_accuracy
from convlens.transfer.probes.fit import class_targets

EXCLUSIVE = ("largest", "shares", "repeat")


@dataclass(frozen=True)
class Metrics:
    """How good scores are, in percent.

    Attributes:
        score: the mean over classes of accuracy (one class an image) or of average precision (several).
        per_class: of each class; NaN where it cannot be told.
        predicted: the class with the highest score of each image.
    """

    score: float
    per_class: Float[Tensor, " classes"]
    predicted: Int64[Tensor, " n"]


@dataclass(frozen=True)
class Targets:
    """The classes of all images.

    Attributes:
        labels: one class for each image.
        classes: how many there are.
        targets: which classes are in an image, 1, 0 (only in a way that does not count) or -1; None where each image
            shows one class, its label.
        exclusive: what softmax, which gives one class for each image, is to give for several: the ``largest`` (the
            label), equal ``shares``, or the image once for each (``repeat``).
        points: the rule of average precision, ``all`` or ``eleven`` (VOC 2007).

    Raises:
        InputError: fewer than two classes, or no such choice.
    """

    labels: Int64[Tensor, " n"]
    classes: int
    targets: Int8[Tensor, "n classes"] | None = None
    exclusive: str = "largest"
    points: str = "all"

    def __post_init__(self) -> None:
        if self.classes < 2:
            raise InputError("one class only: there is nothing to tell apart")
        if self.exclusive not in EXCLUSIVE:
            raise InputError(f"exclusive={self.exclusive!r}: choose one of {', '.join(EXCLUSIVE)}")
        if self.points not in POINTS:
            raise InputError(f"average_precision={self.points!r}: choose one of {', '.join(POINTS)}")

    def wanted(self, probe: str, rows: Int64[Tensor, " k"]) -> Float[Tensor, "k classes"]:
        """What a probe is to give for some images."""
        if self.targets is None or (probe == "softmax" and self.exclusive == "largest"):
            return class_targets(probe, self.labels[rows], self.classes)
        targets = self.targets[rows].float()
        if probe != "softmax":
            return targets
        present = (targets == 1).float()
        return present if self.exclusive == "repeat" else present / present.sum(1, keepdim=True).clamp_min(1)

    def score(self, probe: str, scores: Float[Tensor, "k classes"], rows: Int64[Tensor, " k"]) -> Metrics:
        """How good a probe's scores are."""
        predicted = scores.argmax(1)
        if self.targets is None:
            per_class = mean_class_accuracy(predicted, self.labels[rows], self.classes).per_class
        else:
            # Images are ranked by the probability of a class, for which the others' scores matter.
            ranked = scores.log_softmax(1) if probe == "softmax" else scores
            per_class = mean_average_precision(ranked, self.targets[rows], self.points).per_class
        return Metrics(float(per_class.nanmean()), per_class, predicted)
