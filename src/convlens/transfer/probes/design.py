"""Images that probes are fitted to, as their features or as the inner products of all pairs.

An L2-regularised linear model never leaves the span of its training images: its weights are a sum of them, so many
times each. With these amounts for unknowns and the inner products of the images for features a fit, and what it
predicts, is the same, and n images have n unknowns for each class however many dimensions their features have. A step
then also needs one product of matrices where features need two: the slope in the amounts is that in the scores.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from convlens.errors import InputError
from convlens.transfer.probes.gram import centred, gram
from convlens.transfer.probes.newton import Point


@dataclass(frozen=True, eq=False)
class DesignMatrix(ABC):
    """Images that probes are fitted to, with what all of these fits share.

    Attributes:
        given: what the images are given by; weights have a row for each of the columns, and one for the biases.
        precision: of the fit; less precise numbers than single are taken as that.

    Raises:
        InputError: they are not finite.
    """

    given: Float[Tensor, "n columns"]
    precision: torch.dtype

    def __post_init__(self) -> None:
        if not self.given.isfinite().all():
            raise InputError("features are not finite: the network gives infinite values or NaN for some image")

    def __len__(self) -> int:
        return len(self.given)

    @cached_property
    def mean(self) -> Float[Tensor, " columns"]:
        """Of the images."""
        return self.given.double().mean(0)

    @property
    @abstractmethod
    def doubled(self) -> "DesignMatrix":
        """The same in double precision."""

    @property
    @abstractmethod
    def length(self) -> float:
        """The sum of the squares of all features."""

    @property
    @abstractmethod
    def spread(self) -> float:
        """The same without the images' mean."""

    @abstractmethod
    def seen(self, shrunk: bool) -> Float[Tensor, "n columns"]:
        """What weights are multiplied with: without the images' mean, where the bias is not shrunk and takes it up."""

    @abstractmethod
    def back(self, in_scores: Float[Tensor, "n classes"], shrunk: bool) -> Float[Tensor, "columns classes"]:
        """The weights that a sum of images has, by how much of each."""

    @abstractmethod
    def inner(self, weights: Float[Tensor, "columns classes"], point: Point) -> Float[Tensor, " classes"]:
        """The inner product of weights and those of a point, class by class."""

    @abstractmethod
    def squares(self, by: Float[Tensor, "n classes"], shrunk: bool) -> Float[Tensor, "_ classes"]:
        """The sum of the squares of the images along each column, or along a typical one for all, so much of each."""

    @abstractmethod
    def some(self, rows: Int64[Tensor, " k"]) -> "DesignMatrix":
        """Some of the images."""

    @abstractmethod
    def widened(self, weights: Float[Tensor, "_ classes"], rows: Int64[Tensor, " k"]) -> Float[Tensor, "_ classes"]:
        """The weights that were fitted to ``some`` of the images, as weights for all."""


@dataclass(frozen=True, eq=False)
class Primal(DesignMatrix):
    """Images by their features."""

    @classmethod
    def from_features(cls, features: Float[Tensor, "n d"]) -> "Primal":
        """With a fit in double precision where they are that."""
        return cls(features, torch.float64 if features.dtype == torch.float64 else torch.float32)

    @cached_property
    def doubled(self) -> "Primal":
        """The same in double precision."""
        return self if self.precision == torch.float64 else Primal(self.given, torch.float64)

    @cached_property
    def spanned(self) -> "Dual":
        """The same by their inner products."""
        return Dual(gram(self.given.to(self.precision), torch.arange(len(self))), self.precision)

    @cached_property
    def length(self) -> float:
        """The sum of the squares of all features."""
        return float(self.seen(True).square().sum())

    @cached_property
    def spread(self) -> float:
        """The same without the images' mean."""
        return float(self.seen(False).square().sum())

    @cached_property
    def _as_given(self) -> Tensor:
        return self.given.to(self.precision)

    @cached_property
    def _centred(self) -> Tensor:
        return self._as_given - self.mean.to(self.precision)

    def seen(self, shrunk: bool) -> Float[Tensor, "n d"]:
        """The features."""
        return self._as_given if shrunk else self._centred

    def back(self, in_scores: Float[Tensor, "n classes"], shrunk: bool) -> Float[Tensor, "d classes"]:
        """The sums of the images."""
        return self.seen(shrunk).T @ in_scores

    def inner(self, weights: Float[Tensor, "d classes"], point: Point) -> Float[Tensor, " classes"]:
        """That of the numbers themselves."""
        return (weights * point.weights[:-1]).sum(0)

    def squares(self, by: Float[Tensor, "n classes"], shrunk: bool) -> Float[Tensor, "d classes"]:
        """Of each feature."""
        return self.seen(shrunk).square().T @ by

    def some(self, rows: Int64[Tensor, " k"]) -> "Primal":
        """Some of the images."""
        return Primal(self.given[rows], self.precision)

    def widened(self, weights: Tensor, rows: Tensor) -> Tensor:
        """The same."""
        return weights


@dataclass(frozen=True, eq=False)
class Dual(DesignMatrix):
    """Images by the inner products of all pairs; weights are how much of each image there is in a classifier."""

    @cached_property
    def doubled(self) -> "Dual":
        """The same in double precision."""
        return self if self.precision == torch.float64 else Dual(self.given, torch.float64)

    @property
    def length(self) -> float:
        """The sum of the squares of all features."""
        return float(self.given.trace())

    @property
    def spread(self) -> float:
        """The same without the images' mean."""
        return float(self._centred.trace())

    @cached_property
    def _typical(self) -> float:
        """The mean eigenvalue of the products, each weighted by itself, as a share of their sum."""
        products = self._centred.double()
        return float((products / products.trace()).square().sum()) if products.trace() > 0 else 1.0

    @cached_property
    def _lifted(self) -> Tensor:
        return (self.given + 1).to(self.precision)

    @cached_property
    def _centred(self) -> Tensor:
        return centred(self.given).to(self.precision)

    def seen(self, shrunk: bool) -> Float[Tensor, "n n"]:
        """The products; with those of a feature that is always 1 and whose weight is the bias, where that is shrunk."""
        return self._lifted if shrunk else self._centred

    def back(self, in_scores: Float[Tensor, "n classes"], shrunk: bool) -> Float[Tensor, "n classes"]:
        """Those amounts; without the mean they add up to 0, as an equal amount of all images is nothing then."""
        return in_scores if shrunk else in_scores - in_scores.mean(0)

    def inner(self, weights: Float[Tensor, "n classes"], point: Point) -> Float[Tensor, " classes"]:
        """That of the sums of images which both stand for."""
        return (weights * point.scores).sum(0) - weights.sum(0) * point.weights[-1]

    def squares(self, by: Float[Tensor, "n classes"], shrunk: bool) -> Float[Tensor, "1 classes"]:
        """Of a typical direction."""
        return self._typical * (self.seen(shrunk).diagonal()[None] @ by)

    def some(self, rows: Int64[Tensor, " k"]) -> "Dual":
        """Some of the images."""
        return Dual(self.given[rows[:, None], rows], self.precision)

    def widened(self, weights: Tensor, rows: Tensor) -> Tensor:
        """With nothing of the other images."""
        wide = weights.new_zeros(len(self) + 1, weights.shape[1])
        wide[rows], wide[-1] = weights[:-1], weights[-1]
        return wide
