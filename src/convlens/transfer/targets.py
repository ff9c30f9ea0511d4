"""Targets of the probes for images of one or several classes, and the scores of their predictions."""

from dataclasses import dataclass
from typing import Literal, get_args

from jaxtyping import Float, Int8, Int64
from torch import Tensor

from convlens.errors import InputError
from convlens.metrics.average_precision import POINTS, mean_average_precision
from convlens.metrics.class_accuracy import mean_class_accuracy
from convlens.ops.input_checks import check_choice, check_count
from convlens.ops.tensor_repr import summary
from convlens.transfer.probes.checks import check_whole
from convlens.transfer.probes.fit import class_targets

MultilabelPolicy = Literal["largest", "shares", "repeat"]
POLICIES: tuple[str, ...] = get_args(MultilabelPolicy)


@dataclass(frozen=True)
class Metrics:
    """Scores of predictions, in percent.

    Attributes:
        score: mean over classes of the accuracy (images of one class) or of the average precision (several).
        per_class: the same for each class; NaN if the class has no test image.
        predicted: class with the highest score of each image.
    """

    score: float
    per_class: Float[Tensor, " classes"]
    predicted: Int64[Tensor, " n"]

    __repr__ = summary


@dataclass(frozen=True)
class Targets:
    """The classes of all images.

    Attributes:
        labels: one class for each image.
        num_classes: number of classes.
        multilabel: 1 for a class that is in the image, 0 for one that is ignored (difficult), -1 for one that is not;
            None if each image shows only the class of its label.
        multilabel_policy: targets of softmax, which models one class for each image, if there are several: the
            ``largest`` (the label), equal ``shares``, or the image once for each (``repeat``).
        average_precision: rule of average precision, ``all`` points or ``eleven`` (VOC 2007).

    Raises:
        InputError: there are fewer than two classes, a choice is unknown, or labels are no integers.
    """

    labels: Int64[Tensor, " n"]
    num_classes: int
    multilabel: Int8[Tensor, "n classes"] | None = None
    multilabel_policy: str = "largest"
    average_precision: str = "all"

    __repr__ = summary

    def __post_init__(self) -> None:
        check_whole("labels", self.labels, 1)
        if check_count("num_classes", self.num_classes) < 2:
            raise InputError(f"num_classes={self.num_classes}: a classifier needs at least two classes")
        if self.multilabel is not None:
            check_whole("multilabel", self.multilabel, 2)
            shape, right = list(self.multilabel.shape), [len(self.labels), self.num_classes]
            if shape != right:
                raise InputError(f"multilabel has the shape {shape}: give {right}, a row for each image")
        check_choice("multilabel_policy", self.multilabel_policy, POLICIES)
        check_choice("average_precision", self.average_precision, POINTS)

    def for_probe(self, probe: str, rows: Int64[Tensor, " k"]) -> Float[Tensor, "k classes"]:
        """Return a probe's targets for some images; see `fit_probe`."""
        if self.multilabel is None or (probe == "softmax" and self.multilabel_policy == "largest"):
            return class_targets(probe, self.labels[rows], self.num_classes)
        multilabel = self.multilabel[rows].float()
        if probe != "softmax":
            return multilabel
        present = (multilabel == 1).float()
        return present if self.multilabel_policy == "repeat" else present / present.sum(1, keepdim=True).clamp_min(1)

    def metrics(self, probe: str, scores: Float[Tensor, "k classes"], rows: Int64[Tensor, " k"]) -> Metrics:
        """Return the metrics of a probe's scores for some images."""
        predicted = scores.argmax(1)
        if self.multilabel is None:
            per_class = mean_class_accuracy(predicted, self.labels[rows], self.num_classes).per_class
        else:
            # Images are ranked by the probability of a class, which depends on the scores of the other classes.
            ranked = scores.log_softmax(1) if probe == "softmax" else scores
            per_class = mean_average_precision(ranked, self.multilabel[rows], self.average_precision).per_class
        return Metrics(float(per_class.nanmean()), per_class, predicted)
