"""Feature normalization, and the choice between features and inner products as input of the probes."""

from typing import Literal, get_args

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from convlens.errors import InputError
from convlens.transfer.probes.design import DesignMatrix, Dual, Primal
from convlens.transfer.probes.gram import gram, row_norms

Normalization = Literal["l2", "standardize", "none"]
"""Per image ``l2``: divide by the norm. Per dimension ``standardize``: zero mean, unit variance. ``none``."""
NORMALIZATIONS: tuple[str, ...] = get_args(Normalization)

STANDARDIZE_BLOCK = 1 << 25
"""Numbers that are standardized at once."""


class NormalizedFeatures:
    """Normalized features of some images of a layer, from which probes are fitted and tested.

    With at most twice as many training images as dimensions their inner products are kept instead of the features.

    Args:
        features: features of all images; read once.
        rows: images that will be fitted to or tested.
        normalize: see `Normalization`.
        reference: images whose mean and standard deviation ``standardize`` uses; constant dimensions become 0.
        max_train: largest number of images that a probe will be fitted to.

    Raises:
        InputError: a feature is not finite.
    """

    def __init__(
        self,
        features: Float[Tensor, "n d"],
        rows: Int64[Tensor, " m"],
        normalize: str,
        reference: Int64[Tensor, " k"],
        max_train: int,
    ) -> None:
        self._position = torch.full((len(features),), -1)
        self._position[rows] = torch.arange(len(rows))
        self._products: Tensor | None = None
        self._values: Tensor | None = None
        if normalize == "standardize":
            features = _standardize(features, rows, reference)
            rows = torch.arange(len(rows))
        if 2 * features.shape[1] >= max_train:
            self._products = gram(features, rows, row_norms(features, rows) if normalize == "l2" else None)
            return
        values = features[rows].float()
        if not values.isfinite().all():
            raise InputError("features are not finite: the network gives infinite values or NaN for some image")
        self._values = F.normalize(values, dim=1) if normalize == "l2" else values

    def design(self, train: Int64[Tensor, " n"]) -> DesignMatrix:
        """Return the design matrix of some training images."""
        rows = self._position[train]
        if self._values is not None:
            return Primal.from_features(self._values[rows])
        return Dual(self._between(rows, rows), torch.float32)

    def inputs(self, images: Int64[Tensor, " m"], train: Int64[Tensor, " n"]) -> Float[Tensor, "m columns"]:
        """Return the input of a probe fitted to ``design(train)``: features, or inner products with ``train``."""
        rows = self._position[images]
        return self._values[rows] if self._values is not None else self._between(rows, self._position[train])

    def _between(self, rows: Tensor, others: Tensor) -> Tensor:
        assert self._products is not None
        return self._products[rows[:, None], others]


def _standardize(features: Tensor, rows: Tensor, reference: Tensor) -> Float[Tensor, "m d"]:
    """Return the rows with the reference images' mean subtracted, divided by their standard deviation."""
    standardized = torch.empty(len(rows), features.shape[1])
    width = max(1, STANDARDIZE_BLOCK // max(1, len(rows)))
    for start in range(0, features.shape[1], width):
        part = slice(start, start + width)
        basis = features[:, part][reference].double()
        deviation, mean = basis.std(0, correction=0), basis.mean(0)
        values = (features[:, part][rows].double() - mean) / torch.where(deviation > 1e-12, deviation, torch.inf)
        standardized[:, part] = values.float()
    return standardized
