"""Images as a linear classifier sees them: normalised features, rotated into the span of those it is fitted on."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from convlens.errors import InputError
from convlens.transfer.span import coordinates, gram, unit_length

NORMALISATIONS = ("l2", "standardise", "none")


def check_normalisation(normalise: str) -> None:
    """Sees to it that there is such a normalisation.

    Raises:
        InputError: there is not.
    """
    if normalise not in NORMALISATIONS:
        raise InputError(f"normalise={normalise!r}: choose one of {', '.join(NORMALISATIONS)}")


class Space:
    """Some images of a layer's features, as coordinates for any of them to be fitted on.

    Args:
        features: of all images; read once.
        rows: the images that will be asked for.
        normalise: ``l2`` divides each image's features by their length; ``standardise`` takes the mean of each
            dimension away and divides by its standard deviation; ``none`` leaves them.
        known: whose mean and standard deviation are taken for ``standardise``; dimensions that do not vary become 0.
        fitted: how many images will be fitted on at most: with fewer dimensions than that nothing is rotated.

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
        if features.shape[1] > fitted:
            products = gram(features, rows)
            self._products = unit_length(products) if normalise == "l2" else products
            return
        values = features[rows].float()
        if not values.isfinite().all():
            raise InputError("features are not finite: the network gives infinite values or NaN for some image")
        self._values = torch.nn.functional.normalize(values, dim=1) if normalise == "l2" else values

    def coordinates(
        self, train: Int64[Tensor, " n"], others: Int64[Tensor, " m"]
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "m d"]]:
        """Coordinates of images to fit on and of others; those of fewer of the first are a part of them.

        A classifier of the first k images sees ``[:k, :k]`` of the first and ``[:, :k]`` of the others where there are
        as many coordinates as images, else all columns (``narrowed``).
        """
        first, second = self._place[train], self._place[others]
        if self._values is not None:
            return self._values[first], self._values[second]
        assert self._products is not None
        order = torch.cat([first, second])
        found = coordinates(self._products[order[:, None], order], len(first)).float()
        return found[: len(first)], found[len(first) :]

    def narrowed(self, coordinates: Float[Tensor, "n d"], count: int) -> Float[Tensor, "n k"]:
        """What of the coordinates a classifier of the first ``count`` images sees."""
        return coordinates if self._values is not None else coordinates[:, :count]


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
