"""Losses of linear classifiers, with their derivatives."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F


class Loss(ABC):
    """A loss of scores [n, classes] and targets [n, classes], with its first two derivatives in the scores."""

    bias_shrunk = 0.0
    separate = True
    """Whether each class is a problem of its own."""

    @abstractmethod
    def value(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Of each image and class, [n, classes]."""

    @abstractmethod
    def slope(self, scores: Tensor, targets: Tensor) -> Tensor:
        """The first derivative, [n, classes]."""

    @abstractmethod
    def bends(self, scores: Tensor, targets: Tensor) -> Tensor:
        """The second derivative of each image in the score of each class, [n, classes]."""

    def curvature(self, scores: Tensor, targets: Tensor) -> Callable[[Tensor], Tensor]:
        """The second derivative, as what it does to a change of the scores."""
        bends = self.bends(scores, targets)
        return lambda moved: bends * moved


class Softmax(Loss):
    """Cross entropy with shares of classes that add up to 1; an image without any counts for nothing."""

    separate = False

    def value(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Of each image and class."""
        return -targets * scores.log_softmax(1)

    def slope(self, scores: Tensor, targets: Tensor) -> Tensor:
        """By the scores."""
        return scores.softmax(1) * targets.sum(1, keepdim=True) - targets

    def bends(self, scores: Tensor, targets: Tensor) -> Tensor:
        """By the scores, twice."""
        shares = scores.softmax(1)
        return shares * (1 - shares) * targets.sum(1, keepdim=True)

    def curvature(self, scores: Tensor, targets: Tensor) -> Callable[[Tensor], Tensor]:
        """What it does to a change of the scores."""
        shares, mass = scores.softmax(1), targets.sum(1, keepdim=True)

        def change(moved: Tensor) -> Tensor:
            weighted = shares * moved
            return (weighted - shares * weighted.sum(1, keepdim=True)) * mass

        return change


class SquaredHinge(Loss):
    """One class against the rest; targets are 1, -1, or 0 where an image does not count."""

    bias_shrunk = 1.0

    def value(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Of each image and class."""
        return (1 - targets * scores).clamp_min(0).square() * targets.abs()

    def slope(self, scores: Tensor, targets: Tensor) -> Tensor:
        """By the scores."""
        return -2 * targets * (1 - targets * scores).clamp_min(0)

    def bends(self, scores: Tensor, targets: Tensor) -> Tensor:
        """By the scores, twice: 2 for images short of the margin."""
        return 2.0 * ((targets * scores < 1) & (targets != 0)).to(scores)


class Sigmoid(Loss):
    """The logistic loss of each class by itself; targets are 1, -1, or 0 where an image does not count."""

    def value(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Of each image and class."""
        return F.softplus(-targets * scores) * targets.abs()

    def slope(self, scores: Tensor, targets: Tensor) -> Tensor:
        """By the scores."""
        return -targets * torch.sigmoid(-targets * scores)

    def bends(self, scores: Tensor, targets: Tensor) -> Tensor:
        """By the scores, twice."""
        share = torch.sigmoid(scores)
        return share * (1 - share) * targets.abs()
