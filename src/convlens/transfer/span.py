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


def gram(features: Float[Tensor, "n d"], rows: Int64[Tensor, " m"]) -> Float[Tensor, "m m"]:
    """Inner products of all pairs of some rows; memory does not grow with the number of dimensions.

    What the rows share is taken away before and added after in double precision: it may be most of their length.
    """
    products = torch.zeros(len(rows), len(rows), dtype=torch.float64)
    shared = torch.zeros(len(rows), dtype=torch.float64)
    for part in columns(features, rows):
        mean = part.mean(0, dtype=torch.float64)
        own = part - mean.to(part)
        mean = mean.to(part).double()
        shared += own.double() @ mean + mean @ mean / 2
        for start in range(0, len(rows), IMAGES_AT_ONCE):
            block = slice(start, start + IMAGES_AT_ONCE)
            products[block, start:] += own[block] @ own[start:].T
    return products.triu() + products.triu(1).T + shared + shared[:, None]


def unit_length(products: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    """The inner products of the same vectors, each divided by its length; an image of length 0 stays 0."""
    lengths = products.diagonal().sqrt()
    inverse = torch.where(lengths > 0, 1 / lengths, 0)
    return products * inverse[:, None] * inverse


def centred(products: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    """The inner products of the same vectors without their mean."""
    mean = products.mean(0)
    return products - mean - mean[:, None] + mean.mean()
