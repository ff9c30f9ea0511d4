"""The objective of a linear probe with its gradient and Newton step.

The objective is ``|W|^2 / 2 + C * sum of losses``, as in LIBLINEAR and scikit-learn.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from convlens.transfer.probes.active_set import solve_active
from convlens.transfer.probes.design import DesignMatrix, Dual
from convlens.transfer.probes.losses import Loss, SquaredHinge
from convlens.transfer.probes.newton import Point, conjugate_gradients

HINGE_TOLERANCE = 0.01
"""Residual of the Newton steps of squared-hinge losses: steps solved less well, on images with a large mean, end at
other active sets."""
MIN_BIAS_CURVATURE = 1e-6
"""Smallest curvature of the loss in the biases, per image: it vanishes where all images are separated, and the
preconditioner divides by it."""


@dataclass(frozen=True)
class Objective:
    """The objective as a function of weights and biases [columns + 1, classes].

    Biases that are not penalized absorb the mean of the images. It is subtracted, since conjugate gradients converge
    slowly along a direction that all images share; `start` and `finish` translate weights. With penalized biases and a
    dual design matrix, the bias is part of the Gram matrix and its own row stays 0.

    Attributes:
        loss: the loss.
        design: the training images.
        targets: targets of the loss.
        C: weight of the losses relative to the penalty.
    """

    loss: Loss
    design: DesignMatrix
    targets: Float[Tensor, "n classes"]
    C: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "targets", self.targets.to(self.design.precision))

    @property
    def _bias_penalized(self) -> bool:
        return self.loss.bias_penalty > 0

    @property
    def _bias_in_gram(self) -> bool:
        return self._bias_penalized and isinstance(self.design, Dual)

    @property
    def exact(self) -> bool:
        """Whether `step` solves the quadratic model exactly, whatever the tolerance."""
        return isinstance(self.loss, SquaredHinge) and isinstance(self.design, Dual)

    @property
    def matrix(self) -> Tensor:
        """The matrix that weights are multiplied with."""
        return self.design.matrix(self._bias_penalized)

    def start(self, weights: Tensor | None) -> Point:
        """Return a starting point: the weights of another fit, or 0 with the class frequencies as softmax biases."""
        if weights is None:
            weights = self.matrix.new_zeros(self.matrix.shape[1] + 1, self.targets.shape[1])
            if not self.loss.separable:
                weights[-1] = (self.targets.sum(0) + 0.5).log()
        elif self._bias_in_gram:
            weights = torch.cat([weights[:-1], torch.zeros_like(weights[-1:])])
        elif not self._bias_penalized:
            weights = self._shift_bias(weights, self.design.mean)
        return self.at(weights.to(self.matrix))

    def finish(self, point: Point) -> Tensor:
        """Return the weights for images that are not centered; those of softmax, defined up to a constant, sum to 0."""
        weights = point.weights
        if not self.loss.separable:
            weights = weights - weights.mean(1, keepdim=True)
        if self._bias_in_gram:
            return torch.cat([weights[:-1], weights[:-1].sum(0, keepdim=True)])
        if self._bias_penalized:
            return weights
        if isinstance(self.design, Dual):
            weights = torch.cat([weights[:-1] - weights[:-1].mean(0), weights[-1:]])
        return self._shift_bias(weights, -self.design.mean)

    @staticmethod
    def _shift_bias(weights: Tensor, mean: Tensor) -> Tensor:
        """Return weights whose biases are changed by the scores of ``mean``."""
        exact = weights.double()
        return torch.cat([exact[:-1], exact[-1:] + mean @ exact[:-1]])

    def at(self, weights: Tensor) -> Point:
        """Return weights with the scores of all training images."""
        return Point(weights, torch.addmm(weights[-1], self.matrix, weights[:-1]))

    def dot(self, first: Tensor, second: Point) -> Tensor:
        """Return the inner product of two changes of the weights, for each class if the loss is separable."""
        products = self.design.dot(first[:-1], second) + first[-1] * second.weights[-1]
        return products if self.loss.separable else products.sum()

    def value(self, point: Point) -> Tensor:
        """Return the objective, for each class if the loss is separable."""
        losses = self.loss.value(point.scores, self.targets).sum(0, dtype=torch.float64)
        penalties = self.design.dot(point.weights[:-1], point) + self.loss.bias_penalty * point.weights[-1].square()
        values = self.C * losses + 0.5 * penalties
        return values if self.loss.separable else values.sum()

    def gradient(self, point: Point) -> Tensor:
        """Return the gradient of the objective with respect to the weights."""
        return self._to_weights(self.loss.gradient(point.scores, self.targets), point.weights)

    def step(self, point: Point, gradient: Tensor, tolerance: float) -> Point:
        """Return the minimizer of the quadratic model, solved until a share of the gradient is left."""
        hessian_diag = self.loss.hessian_diag(point.scores, self.targets)
        if self.exact:
            coefficients = solve_active(self.matrix, hessian_diag > 0, self.targets, 1 / (2 * self.C))
            return self.at(torch.cat([coefficients - point.weights[:-1], torch.zeros_like(point.weights[-1:])]))
        if isinstance(self.loss, SquaredHinge):
            tolerance = min(tolerance, HINGE_TOLERANCE)
        product = self.loss.hessian_product(point.scores, self.targets)
        return conjugate_gradients(
            self.at,
            self.dot,
            lambda change: self._to_weights(product(change.scores), change.weights),
            self._preconditioner(hessian_diag),
            gradient,
            tolerance,
        )

    def _preconditioner(self, hessian_diag: Tensor) -> Tensor:
        """Return the diagonal of the Hessian with respect to the weights."""
        weights = 1 + self.C * self.design.weighted_squares(hessian_diag, self._bias_penalized)
        biases = self.C * hessian_diag.sum(0) + self.loss.bias_penalty
        biases = biases.clamp_min(self.C * MIN_BIAS_CURVATURE * len(self.design))
        return torch.cat([weights.expand(self.matrix.shape[1], -1), biases[None]])

    def _to_weights(self, scores: Tensor, weights: Tensor) -> Tensor:
        """Return the gradient with respect to the weights, penalty included, for one with respect to the scores."""
        if self._bias_in_gram:
            bias = torch.zeros_like(weights[-1])
        else:
            bias = self.C * scores.sum(0) + self.loss.bias_penalty * weights[-1]
        return torch.cat([weights[:-1] + self.C * self.design.adjoint(scores, self._bias_penalized), bias[None]])
