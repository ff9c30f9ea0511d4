"""Design matrices: training images as features (primal) or as inner products of all pairs (dual).

The weights of an L2-regularized linear model are a linear combination of its training images. With the coefficients of
that combination as unknowns and the Gram matrix of the images as features, the fit and its predictions are the same;
n images have n unknowns for each class, whatever the number of dimensions. A step in the dual also needs one matrix
product where the primal needs two: the gradients with respect to dual coefficients and scores are the same.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from convlens.errors import InputError
from convlens.transfer.probes.gram import centered, gram
from convlens.transfer.probes.newton import Point


@dataclass(frozen=True, eq=False)
class DesignMatrix(ABC):
    """Training images of one or several fits, with the quantities that these fits share.

    Methods take ``bias_penalized``: a bias that is not penalized absorbs the mean of the images, so that the matrix can
    be centered.

    Attributes:
        values: features [n, d] or inner products [n, n]; weights have a row for each column, and one for the biases.
        precision: data type of the fit; lower precision than single is converted to single.

    Raises:
        InputError: a value is not finite.
    """

    values: Float[Tensor, "n columns"]
    precision: torch.dtype

    def __post_init__(self) -> None:
        if not self.values.isfinite().all():
            raise InputError("features are not finite: the network gives infinite values or NaN for some image")

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self.values.shape)}, {self.precision})"

    @cached_property
    def mean(self) -> Float[Tensor, " columns"]:
        """Mean of the rows, in double precision."""
        return self.values.double().mean(0)

    @cached_property
    def in_double(self) -> "DesignMatrix":
        """The same matrix for a fit in double precision."""
        return self if self.precision == torch.float64 else type(self)(self.values, torch.float64)

    @property
    @abstractmethod
    def squared_norm(self) -> float:
        """Sum of the squares of all features."""

    @property
    @abstractmethod
    def centered_squared_norm(self) -> float:
        """Sum of the squares of all features with the mean of the images subtracted."""

    @abstractmethod
    def matrix(self, bias_penalized: bool) -> Float[Tensor, "n columns"]:
        """Return the matrix that weights are multiplied with; centered if the bias is not penalized."""

    @abstractmethod
    def adjoint(self, scores: Float[Tensor, "n classes"], bias_penalized: bool) -> Float[Tensor, "columns classes"]:
        """Return the gradient with respect to the weights for a gradient with respect to the scores."""

    @abstractmethod
    def dot(self, weights: Float[Tensor, "columns classes"], point: Point) -> Float[Tensor, " classes"]:
        """Return the inner product, in feature space, of weights and those of a point, class by class."""

    @abstractmethod
    def weighted_squares(self, weights: Float[Tensor, "n classes"], bias_penalized: bool) -> Float[Tensor, "_ classes"]:
        """Return the sum over images of weight times squared value, per column or for a typical column."""

    @abstractmethod
    def subset(self, rows: Int64[Tensor, " k"]) -> "DesignMatrix":
        """Return the design matrix of some of the images."""

    @abstractmethod
    def expand(self, weights: Float[Tensor, "_ classes"], rows: Int64[Tensor, " k"]) -> Float[Tensor, "_ classes"]:
        """Return weights that were fitted to ``subset(rows)`` as weights of this matrix."""


@dataclass(frozen=True, eq=False, repr=False)
class Primal(DesignMatrix):
    """Images as features [n, d]."""

    @classmethod
    def from_features(cls, features: Float[Tensor, "n d"]) -> "Primal":
        """Return features for a fit in double precision if they are double, else in single precision."""
        return cls(features, torch.float64 if features.dtype == torch.float64 else torch.float32)

    @cached_property
    def dual(self) -> "Dual":
        """The same images as inner products."""
        return Dual(gram(self.values.to(self.precision), torch.arange(len(self))), self.precision)

    @cached_property
    def squared_norm(self) -> float:
        """Sum of the squares of all features."""
        return float(self.matrix(True).square().sum())

    @cached_property
    def centered_squared_norm(self) -> float:
        """Sum of the squares of all features with the mean of the images subtracted."""
        return float(self.matrix(False).square().sum())

    @cached_property
    def _plain(self) -> Tensor:
        return self.values.to(self.precision)

    @cached_property
    def _centered(self) -> Tensor:
        return self._plain - self.mean.to(self.precision)

    def matrix(self, bias_penalized: bool) -> Float[Tensor, "n d"]:
        """Return the features; centered if the bias is not penalized."""
        return self._plain if bias_penalized else self._centered

    def adjoint(self, scores: Float[Tensor, "n classes"], bias_penalized: bool) -> Float[Tensor, "d classes"]:
        """Return the transposed matrix times the scores."""
        return self.matrix(bias_penalized).T @ scores

    def dot(self, weights: Float[Tensor, "d classes"], point: Point) -> Float[Tensor, " classes"]:
        """Return the inner product of the weights, class by class."""
        return (weights * point.weights[:-1]).sum(0)

    def weighted_squares(self, weights: Float[Tensor, "n classes"], bias_penalized: bool) -> Float[Tensor, "d classes"]:
        """Return the weighted sum of squares of each feature."""
        return self.matrix(bias_penalized).square().T @ weights

    def subset(self, rows: Int64[Tensor, " k"]) -> "Primal":
        """Return some of the images."""
        return Primal(self.values[rows], self.precision)

    def expand(self, weights: Tensor, rows: Tensor) -> Tensor:
        """Return the weights unchanged: they belong to features."""
        return weights


@dataclass(frozen=True, eq=False, repr=False)
class Dual(DesignMatrix):
    """Images as inner products of all pairs [n, n]; weights are the dual coefficients of the images."""

    @property
    def squared_norm(self) -> float:
        """Sum of the squares of all features."""
        return float(self.values.trace())

    @property
    def centered_squared_norm(self) -> float:
        """Sum of the squares of all features with the mean of the images subtracted."""
        return float(self._centered.trace())

    @cached_property
    def _mean_eigenvalue(self) -> float:
        """Mean eigenvalue of the Gram matrix, each weighted by itself, as a share of their sum."""
        products = self._centered.double()
        return float((products / products.trace()).square().sum()) if products.trace() > 0 else 1.0

    @cached_property
    def _with_bias(self) -> Tensor:
        return (self.values + 1).to(self.precision)

    @cached_property
    def _centered(self) -> Tensor:
        return centered(self.values).to(self.precision)

    def matrix(self, bias_penalized: bool) -> Float[Tensor, "n n"]:
        """Return the Gram matrix, centered or, if the bias is penalized, with a constant feature of 1 for the bias."""
        return self._with_bias if bias_penalized else self._centered

    def adjoint(self, scores: Float[Tensor, "n classes"], bias_penalized: bool) -> Float[Tensor, "n classes"]:
        """Return the scores as dual coefficients.

        For the centered matrix they are made to sum to 0, as adding a constant to all coefficients changes nothing.
        """
        return scores if bias_penalized else scores - scores.mean(0)

    def dot(self, weights: Float[Tensor, "n classes"], point: Point) -> Float[Tensor, " classes"]:
        """Return the inner product of the weights in feature space that both sets of dual coefficients stand for."""
        return (weights * point.scores).sum(0) - weights.sum(0) * point.weights[-1]

    def weighted_squares(self, weights: Float[Tensor, "n classes"], bias_penalized: bool) -> Float[Tensor, "1 classes"]:
        """Return the weighted sum of squares along a typical direction."""
        return self._mean_eigenvalue * (self.matrix(bias_penalized).diagonal()[None] @ weights)

    def subset(self, rows: Int64[Tensor, " k"]) -> "Dual":
        """Return some of the images."""
        return Dual(self.values[rows[:, None], rows], self.precision)

    def expand(self, weights: Tensor, rows: Tensor) -> Tensor:
        """Return dual coefficients of all images, 0 for those that are not in ``rows``."""
        wide = weights.new_zeros(len(self) + 1, weights.shape[1])
        wide[rows], wide[-1] = weights[:-1], weights[-1]
        return wide
