"""Gram matrices: inner products of all pairs of images, accumulated over blocks of dimensions."""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int64
from torch import Tensor

DIMENSIONS_PER_BLOCK = 1024
"""Products are summed over so few dimensions in the features' own precision; the sums of blocks are in double."""
IMAGES_PER_BLOCK = 1024


def column_blocks(features: Float[Tensor, "n d"], rows: Int64[Tensor, " m"]) -> Iterator[Float[Tensor, "m part"]]:
    """Yield the selected rows in blocks of dimensions, at least in single precision."""
    for start in range(0, features.shape[1], DIMENSIONS_PER_BLOCK):
        block = features[:, start : start + DIMENSIONS_PER_BLOCK][rows]
        yield block if block.dtype == torch.float64 else block.float()


def gram(
    features: Float[Tensor, "n d"], rows: Int64[Tensor, " m"], norms: Float[Tensor, " m"] | None = None
) -> Float[Tensor, "m m"]:
    """Return the inner products of all pairs of the selected rows, in double precision.

    Memory does not grow with the number of dimensions. The mean of the rows is subtracted before the products are taken
    and its contribution added in double precision, since it may be most of the rows' norm.

    Args:
        features: features of all images.
        rows: the selected images.
        norms: divide each row by its norm first; rows of norm 0 stay 0.
    """
    products = torch.zeros(len(rows), len(rows), dtype=torch.float64)
    shared = torch.zeros(len(rows), dtype=torch.float64)
    blocks = [slice(start, start + IMAGES_PER_BLOCK) for start in range(0, len(rows), IMAGES_PER_BLOCK)]
    scale = None if norms is None else torch.where(norms > 0, 1 / norms, 0)[:, None]
    for unscaled in column_blocks(features, rows):
        part = unscaled if scale is None else (unscaled * scale).to(unscaled)
        mean = part.mean(0, dtype=torch.float64).to(part)
        own = part - mean
        shared += own.double() @ mean.double() + mean.double() @ mean.double() / 2
        for block in blocks:
            products[block, block.start :] += own[block] @ own[block.start :].T
    for block in blocks:
        products[block.stop :, block] = products[block, block.stop :].T
    products += shared
    products += shared[:, None]
    if norms is not None:  # remove what rounding leaves of the mean
        products[norms == 0], products[:, norms == 0] = 0, 0
    return products


def row_norms(features: Float[Tensor, "n d"], rows: Int64[Tensor, " m"]) -> Float[Tensor, " m"]:
    """Return the Euclidean norms of the selected rows, in double precision."""
    squares = torch.zeros(len(rows), dtype=torch.float64)
    for block in column_blocks(features, rows):
        squares += block.double().square().sum(1)
    return squares.sqrt()


def centered(products: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    """Return the Gram matrix of the same vectors with their mean subtracted."""
    mean = products.mean(0)
    return products - mean - mean[:, None] + mean.mean()
