"""Inner products of images, which are all that a linear classifier needs to know of them."""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int64
from torch import Tensor

DIMENSIONS_AT_ONCE = 1024
"""So few are summed in the features' own precision, the sums in double."""
IMAGES_AT_ONCE = 1024


def columns(features: Float[Tensor, "n d"], rows: Int64[Tensor, " m"]) -> Iterator[Float[Tensor, "m part"]]:
    """Some rows of features, a range of dimensions after the other, at least in single precision."""
    for start in range(0, features.shape[1], DIMENSIONS_AT_ONCE):
        part = features[:, start : start + DIMENSIONS_AT_ONCE][rows]
        yield part if part.dtype == torch.float64 else part.float()


def gram(
    features: Float[Tensor, "n d"], rows: Int64[Tensor, " m"], lengths: Float[Tensor, " m"] | None = None
) -> Float[Tensor, "m m"]:
    """Inner products of all pairs of some rows; memory does not grow with the number of dimensions.

    What the rows share is taken away before and added after in double precision: it may be most of their length.

    Args:
        features: of all images.
        rows: which of them.
        lengths: what they are divided by first; those of length 0 stay 0.
    """
    products = torch.zeros(len(rows), len(rows), dtype=torch.float64)
    shared = torch.zeros(len(rows), dtype=torch.float64)
    blocks = [slice(start, start + IMAGES_AT_ONCE) for start in range(0, len(rows), IMAGES_AT_ONCE)]
    scale = None if lengths is None else torch.where(lengths > 0, 1 / lengths, 0)[:, None]
    for given in columns(features, rows):
        part = given if scale is None else (given * scale).to(given)
        mean = part.mean(0, dtype=torch.float64).to(part)
        own = part - mean
        shared += own.double() @ mean.double() + mean.double() @ mean.double() / 2
        for block in blocks:
            products[block, block.start :] += own[block] @ own[block.start :].T
    for block in blocks:
        products[block.stop :, block] = products[block, block.stop :].T
    products += shared
    products += shared[:, None]
    if lengths is not None:  # rounding would leave something of the mean
        products[lengths == 0], products[:, lengths == 0] = 0, 0
    return products


def lengths_of(features: Float[Tensor, "n d"], rows: Int64[Tensor, " m"]) -> Float[Tensor, " m"]:
    """The lengths of some rows."""
    squares = torch.zeros(len(rows), dtype=torch.float64)
    for part in columns(features, rows):
        squares += part.double().square().sum(1)
    return squares.sqrt()


def centred(products: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    """The inner products of the same vectors without their mean."""
    mean = products.mean(0)
    return products - mean - mean[:, None] + mean.mean()
