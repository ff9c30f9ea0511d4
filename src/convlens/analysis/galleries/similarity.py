"""Similarity of pictures at any shift, and the AUC of pairs within and across feature maps (paper, section 4.1)."""

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor
from torch.nn import functional as F

from convlens.errors import InputError

MAX_SIDE = 64
"""Larger pictures are shrunk to this many pixels on their longer side."""
MAX_SHIFT = 0.25
"""Greatest shift of one picture against the other, as a fraction of the side."""


def spectra(pictures: Float[Tensor, "n c h w"]) -> Complex[Tensor, "n c h2 w2"]:
    """Return the Fourier transforms of pictures of unit length, the input of `similarity`.

    Pictures are shrunk to at most 64 pixels and padded with zeros to twice their size, so that shifts are not cyclic.
    """
    longest = max(pictures.shape[-2:])
    if longest > MAX_SIDE:
        height, width = (max(1, round(side * MAX_SIDE / longest)) for side in pictures.shape[-2:])
        pictures = F.adaptive_avg_pool2d(pictures, (height, width))
    unit = F.normalize(pictures.flatten(1), dim=1).view_as(pictures)
    return torch.fft.rfft2(unit, s=[2 * side for side in pictures.shape[-2:]])


def similarity(first: Complex[Tensor, "n c h w"], second: Complex[Tensor, "n c h w"]) -> Float[Tensor, " n"]:
    """Return the greatest cosine similarity of each pair of pictures over shifts of up to a quarter of their side.

    Args:
        first: `spectra` of the first pictures.
        second: `spectra` of the second pictures, of the same size.
    """
    products = torch.fft.irfft2((first * second.conj()).sum(-3))
    height, width = products.shape[-2] // 2, products.shape[-1] // 2
    rows, columns = (int(MAX_SHIFT * side) for side in (height, width))
    near = torch.cat([products[..., : rows + 1, :], products[..., products.shape[-2] - rows :, :]], -2)
    near = torch.cat([near[..., : columns + 1], near[..., near.shape[-1] - columns :]], -1)
    return near.flatten(-2).amax(-1)


def pairs_within(spectrum: Complex[Tensor, "n c h w"]) -> Float[Tensor, " pairs"]:
    """Return the similarity of each pair of pictures of one map."""
    first, second = torch.triu_indices(len(spectrum), len(spectrum), 1)
    return similarity(spectrum[first], spectrum[second])


def pairs_across(spectrum: Complex[Tensor, "n c h w"], others: Complex[Tensor, "m c h w"]) -> Float[Tensor, " pairs"]:
    """Return the similarity of a map's pictures to another map's, as many pairs as `pairs_within` has."""
    first, second = torch.triu_indices(len(spectrum), len(spectrum), 1)
    return similarity(spectrum[first], others[second % len(others)])


def auc_table(within: list[np.ndarray], across: list[np.ndarray]) -> Float[np.ndarray, "maps maps"]:
    """Return, for maps m and n, how often a pair within m is more similar than a pair across n; ties count half.

    The mean of the table is the area under the ROC curve of pairs within against pairs across (0.5 is chance); the
    mean over rows and columns drawn with replacement is one of its bootstrap resamples.

    Args:
        within: similarities of pairs within each map.
        across: similarities of pairs of each map with another one.

    Raises:
        InputError: the two lists have different lengths or are empty.
    """
    if len(within) != len(across) or not within:
        raise InputError(f"{len(within)} and {len(across)} maps: give the same maps within and across, at least one")
    table = np.empty((len(within), len(across)))
    for column, negative in enumerate(across):
        ordered = np.sort(negative)
        for row, positive in enumerate(within):
            below = np.searchsorted(ordered, positive, "left") + np.searchsorted(ordered, positive, "right")
            table[row, column] = below.mean() / (2 * len(negative))
    return table
