"""Linear classifiers of fixed features, all classes fitted at once: softmax, linear SVM, and one sigmoid per class.

Each minimises ``|W|^2 / 2 + C * (sum of the losses of all images)``, as scikit-learn and LIBLINEAR write it. Of the
biases only the SVM's is shrunk, as in LIBLINEAR, where it is the weight of a feature that is always 1.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

from convlens.errors import InputError
from convlens.transfer.losses import Loss, Sigmoid, Softmax, SquaredHinge
from convlens.transfer.newton import minimise

TOLERANCE = 1e-5
"""The fit ends where a Newton step promises to lower the objective by no more than this share."""

CERTAIN = 30.0
"""The score of a class that all training images have or, less than 0, none: a probability of 1 in float32."""

LOSSES: dict[str, Loss] = {"svm": SquaredHinge(), "softmax": Softmax(), "sigmoid": Sigmoid()}


@dataclass(frozen=True)
class Linear:
    """A fitted probe.

    Attributes:
        weights: a column for each class; the last row are the biases.
        objective: the value of what is minimised.
        steps: how many steps the fit took.
    """

    weights: Float[Tensor, "d_and_1 classes"]
    objective: float
    steps: int

    def scores(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n classes"]:
        """The higher, the more likely."""
        return torch.addmm(self.weights[-1], features.to(self.weights), self.weights[:-1])


def class_targets(probe: str, labels: Int64[Tensor, " n"], classes: int) -> Float[Tensor, "n classes"]:
    """What a probe is to give for images of one class each."""
    chosen = F.one_hot(labels, classes).float()
    return chosen if probe == "softmax" else 2 * chosen - 1


def fit(
    probe: str,
    features: Float[Tensor, "n d"],
    targets: Float[Tensor, "n classes"],
    c: float,
    *,
    start: Linear | None = None,
    tolerance: float = TOLERANCE,
) -> Linear:
    """Fit a probe by Newton's method, with products of whole matrices.

    Args:
        probe: ``softmax``, ``svm`` or ``sigmoid``.
        features: of the training images; the fit is done in their precision.
        targets: for softmax shares of the classes, else 1, -1 and 0 where an image does not count.
        c: how much the losses weigh against the size of the weights.
        start: where to begin, such as the fit with another ``c``.
        tolerance: the fit ends where a step promises to lower the objective by no more than this share.

    Raises:
        InputError: no such probe, ``c`` is not above 0, or softmax has only one class.
    """
    if probe not in LOSSES:
        raise InputError(f"unknown probe {probe!r}: choose one of {', '.join(LOSSES)}")
    if not 0 < c < float("inf"):
        raise InputError(f"C is {c}: give a finite number above 0")
    if targets.shape[1] < 2 and probe == "softmax":
        raise InputError("one class only: there is nothing to tell apart")
    if probe == "sigmoid" and not (both := (targets > 0).any(0) & (targets < 0).any(0)).all():
        return _fit_some(both, features, targets, c, start, tolerance)
    problem = Problem(LOSSES[probe], features, targets.to(features), c)
    weights, steps = minimise(problem, problem.start() if start is None else start.weights, tolerance)
    return Linear(weights, float(problem.value(weights, problem.scores(weights)).sum()), steps)


def _fit_some(
    both: Bool[Tensor, " classes"], features: Tensor, targets: Tensor, c: float, start: Linear | None, tolerance: float
) -> Linear:
    """Sigmoids for the classes that some images have and some lack: the bias of the others would have no end."""
    weights = features.new_zeros(features.shape[1] + 1, len(both))
    weights[-1] = torch.where((targets > 0).any(0), CERTAIN, -CERTAIN)
    objective, steps = 0.0, 0
    if both.any():
        begun = None if start is None else Linear(start.weights[:, both], 0.0, 0)
        found = fit("sigmoid", features, targets[:, both], c, start=begun, tolerance=tolerance)
        weights[:, both], objective, steps = found.weights, found.objective, found.steps
    return Linear(weights, objective, steps)


@dataclass(frozen=True)
class Problem:
    """What is minimised, as a function of weights and biases [d + 1, classes]."""

    loss: Loss
    features: Float[Tensor, "n d"]
    targets: Float[Tensor, "n classes"]
    c: float

    @property
    def forcing(self) -> float:
        """How well a step is solved."""
        return self.loss.forcing

    def start(self) -> Tensor:
        """All weights 0."""
        return self.features.new_zeros(self.features.shape[1] + 1, self.targets.shape[1])

    def inner(self, first: Tensor, second: Tensor) -> Tensor:
        """The inner product, for each class by itself where each is a problem of its own."""
        products = (first * second).sum(0)
        return products if self.loss.separate else products.sum()

    def scores(self, weights: Tensor) -> Tensor:
        """Of all training images."""
        return torch.addmm(weights[-1], self.features, weights[:-1])

    def value(self, weights: Tensor, scores: Tensor) -> Tensor:
        """The objective, for each class by itself where each is a problem of its own."""
        losses = self.loss.value(scores, self.targets).sum(0)
        values = self.c * losses + 0.5 * weights[:-1].square().sum(0) + 0.5 * self.loss.bias_shrunk * weights[-1] ** 2
        return values if self.loss.separate else values.sum()

    def gradient(self, weights: Tensor, scores: Tensor) -> Tensor:
        """Of the objective in the weights."""
        return self._back(self.loss.slope(scores, self.targets), weights)

    def hessian(self, scores: Tensor) -> Callable[[Tensor], Tensor]:
        """What the second derivative does to a change of the weights."""
        curvature = self.loss.curvature(scores, self.targets)
        return lambda change: self._back(curvature(self.scores(change)), change)

    def _back(self, in_scores: Tensor, weights: Tensor) -> Tensor:
        """From derivatives in the scores to those in the weights, with what shrinks them."""
        bias = self.c * in_scores.sum(0) + self.loss.bias_shrunk * weights[-1]
        return torch.cat([torch.addmm(weights[:-1], self.features.T, in_scores, alpha=self.c), bias[None]])
