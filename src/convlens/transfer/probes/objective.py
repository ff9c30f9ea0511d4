"""What fitting a probe minimises, and the steps by which its minimum is approached."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from convlens.transfer.probes.active_set import solve_active
from convlens.transfer.probes.design import DesignMatrix, Dual
from convlens.transfer.probes.losses import Loss, SquaredHinge
from convlens.transfer.probes.newton import Point, conjugate_gradients

HINGE = 0.01
"""An SVM's steps are solved as well as this: rough ones, with the mean of the images in them, lead to other margins."""
FLAT = 1e-6
"""The least curvature of an image in a bias: where all are told apart there is none, and no length to measure with."""


@dataclass(frozen=True)
class Problem:
    """What is minimised, as a function of weights and biases [columns + 1, classes].

    Where biases are not shrunk the images' mean changes nothing but them. It is taken away, since a direction that all
    images share is what conjugate gradients are slow with; ``start`` and ``end`` translate. Where they are shrunk and
    the images are known by their products, the bias is a part of the products and its own row stays 0.
    """

    loss: Loss
    known: DesignMatrix
    targets: Float[Tensor, "n classes"]
    c: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "targets", self.targets.to(self.known.precision))

    @property
    def _shrunk(self) -> bool:
        return self.loss.bias_shrunk > 0

    @property
    def _bias_in_products(self) -> bool:
        return self._shrunk and isinstance(self.known, Dual)

    @property
    def exact(self) -> bool:
        """Whether steps are solved to the end, whatever share may be left."""
        return isinstance(self.loss, SquaredHinge) and isinstance(self.known, Dual)

    @property
    def features(self) -> Tensor:
        """The images, as they are seen here."""
        return self.known.seen(self._shrunk)

    def start(self, weights: Tensor | None) -> Point:
        """Where to begin: at weights of another fit, or at 0, with the classes' shares for the biases of softmax."""
        if weights is None:
            weights = self.features.new_zeros(self.features.shape[1] + 1, self.targets.shape[1])
            if not self.loss.separate:
                weights[-1] = (self.targets.sum(0) + 0.5).log()
        elif self._bias_in_products:
            weights = torch.cat([weights[:-1], torch.zeros_like(weights[-1:])])
        elif not self._shrunk:
            weights = self._moved(weights, self.known.mean)
        return self.at(weights.to(self.features))

    def end(self, point: Point) -> Tensor:
        """Weights for images with their mean; those of softmax, which sees only differences, add up to 0."""
        weights = point.weights
        if not self.loss.separate:
            weights = weights - weights.mean(1, keepdim=True)
        if self._bias_in_products:
            return torch.cat([weights[:-1], weights[:-1].sum(0, keepdim=True)])
        if self._shrunk:
            return weights
        if isinstance(self.known, Dual):
            weights = torch.cat([weights[:-1] - weights[:-1].mean(0), weights[-1:]])
        return self._moved(weights, -self.known.mean)

    @staticmethod
    def _moved(weights: Tensor, by: Tensor) -> Tensor:
        exact = weights.double()
        return torch.cat([exact[:-1], exact[-1:] + by @ exact[:-1]])

    def at(self, weights: Tensor) -> Point:
        """Weights, with the scores they give all training images."""
        return Point(weights, torch.addmm(weights[-1], self.features, weights[:-1]))

    def inner(self, first: Tensor, second: Point) -> Tensor:
        """The inner product, for each class by itself where each is a problem of its own."""
        products = self.known.inner(first[:-1], second) + first[-1] * second.weights[-1]
        return products if self.loss.separate else products.sum()

    def value(self, point: Point) -> Tensor:
        """The objective, for each class by itself where each is a problem of its own."""
        losses = self.loss.value(point.scores, self.targets).sum(0, dtype=torch.float64)
        sizes = self.known.inner(point.weights[:-1], point) + self.loss.bias_shrunk * point.weights[-1].square()
        values = self.c * losses + 0.5 * sizes
        return values if self.loss.separate else values.sum()

    def gradient(self, point: Point) -> Tensor:
        """Of the objective in the weights."""
        return self._back(self.loss.slope(point.scores, self.targets), point.weights)

    def step(self, point: Point, gradient: Tensor, left: float) -> Point:
        """The change with which the quadratic model is smallest, solved until a share of the gradient is left."""
        bends = self.loss.bends(point.scores, self.targets)
        if self.exact:
            amounts = solve_active(self.features, bends > 0, self.targets, 1 / (2 * self.c))
            return self.at(torch.cat([amounts - point.weights[:-1], torch.zeros_like(point.weights[-1:])]))
        if isinstance(self.loss, SquaredHinge):
            left = min(left, HINGE)
        curvature = self.loss.curvature(point.scores, self.targets)
        return conjugate_gradients(
            self.at,
            self.inner,
            lambda change: self._back(curvature(change.scores), change.weights),
            self._diagonal(bends),
            gradient,
            left,
        )

    def _diagonal(self, bends: Tensor) -> Tensor:
        """Of the curvature in the weights; in units of this conjugate gradients measure lengths."""
        weights = 1 + self.c * self.known.squares(bends, self._shrunk)
        biases = self.c * bends.sum(0) + self.loss.bias_shrunk
        biases = biases.clamp_min(self.c * FLAT * len(self.known))
        return torch.cat([weights.expand(self.features.shape[1], -1), biases[None]])

    def _back(self, in_scores: Tensor, weights: Tensor) -> Tensor:
        """From derivatives in the scores to those in the weights, with what shrinks them."""
        if self._bias_in_products:
            bias = torch.zeros_like(weights[-1])
        else:
            bias = self.c * in_scores.sum(0) + self.loss.bias_shrunk * weights[-1]
        return torch.cat([weights[:-1] + self.c * self.known.back(in_scores, self._shrunk), bias[None]])
