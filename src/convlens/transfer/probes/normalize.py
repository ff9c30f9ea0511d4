"""Images as a linear classifier sees them: normalised features, or their inner products where these are fewer."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from convlens.errors import InputError
from convlens.transfer.probes.design import DesignMatrix, Dual, Primal
from convlens.transfer.probes.gram import gram, lengths_of

NORMALISATIONS = ("l2", "standardise", "none")


def check_normalisation(normalise: str) -> None:
    """Sees to it that there is such a normalisation.

    Raises:
        InputError: there is not.
    """
    if normalise not in NORMALISATIONS:
        raise InputError(f"normalise={normalise!r}: choose one of {', '.join(NORMALISATIONS)}")


class Space:
    """Some images of a layer's features, for probes to be fitted to any of them.

    Args:
        features: of all images; read once.
        rows: the images that will be asked for.
        normalise: ``l2`` divides each image's features by their length; ``standardise`` takes the mean of each
            dimension away and divides by its standard deviation; ``none`` leaves them.
        known: whose mean and standard deviation are taken for ``standardise``; dimensions that do not vary become 0.
        fitted: how many images will be fitted to at most: with twice as many as dimensions, these are kept instead of
            inner products.

    Raises:
        InputError: no such normalisation.
    """

    def __init__(
        self,
        features: Float[Tensor, "n d"],
        rows: Int64[Tensor, " m"],
        normalise: str,
        known: Int64[Tensor, " k"],
        fitted: int,
    ) -> None:
        check_normalisation(normalise)
        self._place = torch.full((len(features),), -1)
        self._place[rows] = torch.arange(len(rows))
        self._products: Tensor | None = None
        self._values: Tensor | None = None
        if normalise == "standardise":
            features = _standardised(features, rows, known)
            rows = torch.arange(len(rows))
        if 2 * features.shape[1] >= fitted:
            self._products = gram(features, rows, lengths_of(features, rows) if normalise == "l2" else None)
            return
        values = features[rows].float()
        if not values.isfinite().all():
            raise InputError("features are not finite: the network gives infinite values or NaN for some image")
        self._values = torch.nn.functional.normalize(values, dim=1) if normalise == "l2" else values

    def known(self, train: Int64[Tensor, " n"]) -> DesignMatrix:
        """Images to fit probes to."""
        rows = self._place[train]
        if self._values is not None:
            return Primal.from_features(self._values[rows])
        return Dual(self._between(rows, rows), torch.float32)

    def asked(self, images: Int64[Tensor, " m"], train: Int64[Tensor, " n"]) -> Float[Tensor, "m columns"]:
        """Images for a probe that was fitted to ``known(train)``."""
        rows = self._place[images]
        return self._values[rows] if self._values is not None else self._between(rows, self._place[train])

    def _between(self, rows: Tensor, others: Tensor) -> Tensor:
        assert self._products is not None
        return self._products[rows[:, None], others]


def _standardised(features: Tensor, rows: Tensor, known: Tensor) -> Float[Tensor, "m d"]:
    """Those rows with each dimension's mean of the known ones taken away, divided by its standard deviation."""
    found = torch.empty(len(rows), features.shape[1])
    width = max(1, (1 << 25) // max(1, len(rows)))
    for start in range(0, features.shape[1], width):
        part = slice(start, start + width)
        basis = features[:, part][known].double()
        spread, mean = basis.std(0, correction=0), basis.mean(0)
        values = (features[:, part][rows].double() - mean) / torch.where(spread > 1e-12, spread, torch.inf)
        found[:, part] = values.float()
    return found
