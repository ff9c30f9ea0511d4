"""Losses of linear classifiers with their gradients and Hessians: softmax, squared hinge and sigmoid."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

Scores = Float[Tensor, "n classes"]


class Loss(ABC):
    """A loss of class scores and targets with its first and second derivatives with respect to the scores.

    Attributes:
        bias_penalty: weight of the L2 penalty on the biases, relative to that on the weights.
        separable: whether each class is an independent problem.
    """

    bias_penalty = 0.0
    separable = True

    @abstractmethod
    def value(self, scores: Scores, targets: Scores) -> Scores:
        """Return the loss of each image and class."""

    @abstractmethod
    def gradient(self, scores: Scores, targets: Scores) -> Scores:
        """Return the derivative of the loss with respect to the scores."""

    @abstractmethod
    def hessian_diag(self, scores: Scores, targets: Scores) -> Scores:
        """Return the second derivative of each image's loss with respect to the score of each class."""

    def hessian_product(self, scores: Scores, targets: Scores) -> Callable[[Scores], Scores]:
        """Return a function that multiplies a change of the scores by the Hessian."""
        diagonal = self.hessian_diag(scores, targets)
        return lambda change: diagonal * change


class Softmax(Loss):
    """Cross entropy; targets are class probabilities that sum to 1, or all 0 for an image that is ignored."""

    separable = False

    def value(self, scores: Scores, targets: Scores) -> Scores:
        """Return the cross entropy terms of each image and class."""
        return -targets * scores.log_softmax(1)

    def gradient(self, scores: Scores, targets: Scores) -> Scores:
        """Return predicted probabilities minus targets, weighted by the sum of the image's targets."""
        return scores.softmax(1) * targets.sum(1, keepdim=True) - targets

    def hessian_diag(self, scores: Scores, targets: Scores) -> Scores:
        """Return ``p * (1 - p)``, weighted by the sum of the image's targets."""
        shares = scores.softmax(1)
        return shares * (1 - shares) * targets.sum(1, keepdim=True)

    def hessian_product(self, scores: Scores, targets: Scores) -> Callable[[Scores], Scores]:
        """Return a function that multiplies a change of the scores by ``diag(p) - p p^T``."""
        shares, mass = scores.softmax(1), targets.sum(1, keepdim=True)

        def product(change: Scores) -> Scores:
            weighted = shares * change
            return (weighted - shares * weighted.sum(1, keepdim=True)) * mass

        return product


class SquaredHinge(Loss):
    """Squared hinge loss of one class against the rest; targets are 1, -1, or 0 for an image that is ignored."""

    bias_penalty = 1.0

    def value(self, scores: Scores, targets: Scores) -> Scores:
        """Return ``max(0, 1 - target * score)^2``."""
        return (1 - targets * scores).clamp_min(0).square() * targets.abs()

    def gradient(self, scores: Scores, targets: Scores) -> Scores:
        """Return ``-2 * target * max(0, 1 - target * score)``."""
        return -2 * targets * (1 - targets * scores).clamp_min(0)

    def hessian_diag(self, scores: Scores, targets: Scores) -> Scores:
        """Return 2 for images inside the margin and 0 for the others."""
        return 2.0 * ((targets * scores < 1) & (targets != 0)).to(scores)


class Sigmoid(Loss):
    """Logistic loss of each class independently; targets are 1, -1, or 0 for an image that is ignored."""

    def value(self, scores: Scores, targets: Scores) -> Scores:
        """Return ``log(1 + exp(-target * score))``."""
        return F.softplus(-targets * scores) * targets.abs()

    def gradient(self, scores: Scores, targets: Scores) -> Scores:
        """Return ``-target * sigmoid(-target * score)``."""
        return -targets * torch.sigmoid(-targets * scores)

    def hessian_diag(self, scores: Scores, targets: Scores) -> Scores:
        """Return ``p * (1 - p)``."""
        share = torch.sigmoid(scores)
        return share * (1 - share) * targets.abs()


LOSSES: dict[str, Loss] = {"svm": SquaredHinge(), "softmax": Softmax(), "sigmoid": Sigmoid()}
"""The loss of each kind of probe."""
