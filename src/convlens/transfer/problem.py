"""What fitting a probe minimises, and the steps by which its minimum is approached."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from convlens.errors import InputError
from convlens.transfer.active import solve_active
from convlens.transfer.losses import Loss, SquaredHinge
from convlens.transfer.newton import conjugate_gradients

MOST_PRODUCTS = 6_000
"""Images of which all inner products are kept: 144 MB in single precision."""


@dataclass(frozen=True, eq=False)
class Known:
    """Features of the images that probes are fitted to, with what all of these fits share.

    Attributes:
        given: the features; less precise ones than single are taken as that.

    Raises:
        InputError: they are not finite.
    """

    given: Float[Tensor, "n d"]

    def __post_init__(self) -> None:
        if not self.given.isfinite().all():
            raise InputError("features are not finite: the network gives infinite values or NaN for some image")

    def __len__(self) -> int:
        return len(self.given)

    @cached_property
    def features(self) -> Float[Tensor, "n d"]:
        """In the precision of the fit."""
        return self.given if self.given.dtype == torch.float64 else self.given.float()

    @cached_property
    def doubled(self) -> "Known":
        """The same in double precision."""
        return self if self.given.dtype == torch.float64 else Known(self.given.double())

    @cached_property
    def length(self) -> float:
        """The sum of the squares of all features."""
        return float(self.features.square().sum())

    @cached_property
    def mean(self) -> Float[Tensor, " d"]:
        """Of the images."""
        return self.features.mean(0)

    @cached_property
    def centred(self) -> Float[Tensor, "n d"]:
        """Less their mean."""
        return self.features - self.mean

    @cached_property
    def squared(self) -> Float[Tensor, "n d"]:
        """The squares of what is left without the mean."""
        return self.centred.square()

    @cached_property
    def products(self) -> Float[Tensor, "n n"]:
        """Inner products of all pairs, with the feature that is always 1."""
        return self.features @ self.features.T + 1

    def some(self, rows: Int64[Tensor, " k"]) -> "Known":
        """Of some of the images."""
        part = Known(self.given[rows])
        if len(self) <= MOST_PRODUCTS:
            part.__dict__["products"] = self.products[rows[:, None], rows]
        return part


@dataclass(frozen=True)
class Problem:
    """What is minimised, as a function of weights and biases [d + 1, classes].

    Where biases are not shrunk the images' mean changes nothing but them. It is taken away, since a direction that all
    images share is what conjugate gradients are slow with; ``start`` and ``end`` translate.
    """

    loss: Loss
    known: Known
    targets: Float[Tensor, "n classes"]
    c: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "targets", self.targets.to(self.known.features))

    @property
    def _centres(self) -> bool:
        return self.loss.bias_shrunk == 0

    @property
    def features(self) -> Tensor:
        """The images, as they are seen here."""
        return self.known.centred if self._centres else self.known.features

    def start(self, weights: Tensor | None) -> Tensor:
        """Where to begin: at weights of another fit, or all 0."""
        if weights is None:
            return self.features.new_zeros(self.features.shape[1] + 1, self.targets.shape[1])
        weights = weights.to(self.features)  # of a fit in another precision
        return self._moved(weights, self.known.mean) if self._centres else weights

    def end(self, weights: Tensor) -> Tensor:
        """Weights for images with their mean; those of softmax, which sees only differences, add up to 0."""
        if not self.loss.separate:
            weights = weights - weights.mean(1, keepdim=True)
        return self._moved(weights, -self.known.mean) if self._centres else weights

    @staticmethod
    def _moved(weights: Tensor, by: Tensor) -> Tensor:
        return torch.cat([weights[:-1], weights[-1:] + by @ weights[:-1]])

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

    def step(self, scores: Tensor, gradient: Tensor, left: float) -> Tensor:
        """The change with which the quadratic model is smallest, solved until a share of the gradient is left."""
        bends = self.loss.bends(scores, self.targets)
        if isinstance(self.loss, SquaredHinge) and len(self.known) <= MOST_PRODUCTS:
            asked = solve_active(self.known.products, bends > 0, self.scores(gradient), 1 / (2 * self.c))
            return self._spread(asked) - gradient
        curvature = self.loss.curvature(scores, self.targets)
        return conjugate_gradients(
            self.inner,
            lambda change: self._back(curvature(self.scores(change)), change),
            self._diagonal(bends),
            gradient,
            left,
        )

    def _diagonal(self, bends: Tensor) -> Tensor:
        """Of the curvature in the weights."""
        squares = self.known.squared if self._centres else self.features.square()
        biases = self.c * bends.sum(0) + self.loss.bias_shrunk
        return torch.cat([1 + self.c * (squares.T @ bends), biases.clamp_min(1e-6 * float(biases.max()) + 1e-12)[None]])

    def _spread(self, in_scores: Tensor) -> Tensor:
        """The weights and biases that a sum of images has, by how much of each."""
        return torch.cat([self.features.T @ in_scores, in_scores.sum(0, keepdim=True)])

    def _back(self, in_scores: Tensor, weights: Tensor) -> Tensor:
        """From derivatives in the scores to those in the weights, with what shrinks them."""
        bias = self.c * in_scores.sum(0) + self.loss.bias_shrunk * weights[-1]
        return torch.cat([torch.addmm(weights[:-1], self.features.T, in_scores, alpha=self.c), bias[None]])
