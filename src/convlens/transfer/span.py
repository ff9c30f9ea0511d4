"""Exact rotation of features into the span of the training images.

An L2-regularised linear model never leaves the span of its training images. In an orthonormal basis of that span n
images have n coordinates, however many dimensions their features have; fitting, and predicting, with those coordinates
is the same as with the features. The basis is that of Gram and Schmidt, image after image, so that the first k images
have only their first k coordinates: one rotation serves every smaller training set that it begins with.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from convlens.errors import InputError

JITTER = 1e-12
"""Smallest share of the mean squared length that is added where training images depend on each other linearly."""
DIMENSIONS_AT_ONCE = 1024
"""So few are summed in the features' own precision, the sums in double."""
IMAGES_AT_ONCE = 1024


def columns(features: Float[Tensor, "n d"], rows: Int64[Tensor, " m"]) -> Iterator[Float[Tensor, "m part"]]:
    """Some rows of features, a range of dimensions after the other, at least in single precision."""
    for start in range(0, features.shape[1], DIMENSIONS_AT_ONCE):
        part = features[:, start : start + DIMENSIONS_AT_ONCE][rows]
        yield part if part.dtype == torch.float64 else part.float()


def gram(features: Float[Tensor, "n d"], rows: Int64[Tensor, " m"]) -> Float[Tensor, "m m"]:
    """Inner products of all pairs of some rows; memory does not grow with the number of dimensions."""
    products = torch.zeros(len(rows), len(rows), dtype=torch.float64)
    for part in columns(features, rows):
        for start in range(0, len(rows), IMAGES_AT_ONCE):
            block = slice(start, start + IMAGES_AT_ONCE)
            products[block, start:] += part[block] @ part[start:].T
    return products.triu() + products.triu(1).T


def unit_length(products: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    """The inner products of the same vectors, each divided by its length; an image of length 0 stays 0."""
    lengths = products.diagonal().sqrt()
    inverse = torch.where(lengths > 0, 1 / lengths, 0)
    return products * inverse[:, None] * inverse


def coordinates(products: Float[Tensor, "m m"], count: int) -> Float[Tensor, "m count"]:
    """Coordinates of m images in the span of the first ``count``, from the inner products of all.

    Those of the first k images, for any k up to ``count``, are 0 after the k-th; what of the others lies in the span of
    the first k are their first k coordinates.

    Raises:
        InputError: the products are not finite.
    """
    if not products.isfinite().all():
        raise InputError("features are not finite: the network gives infinite values or NaN for some image")
    known, scale = products[:count, :count], products.diagonal()[:count].mean()
    jitter = 0.0
    while True:
        factor, failed = torch.linalg.cholesky_ex(known + jitter * torch.eye(count, dtype=products.dtype))
        if not failed:
            break
        jitter = max(10 * jitter, JITTER * float(scale), torch.finfo(products.dtype).tiny)
    others = torch.linalg.solve_triangular(factor, products[count:, :count].T, upper=False).T
    return torch.cat([factor, others])
