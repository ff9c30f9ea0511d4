"""How alike pictures are wherever their contents lie: are a map's nine projections of one kind? (paper, sec. 4.1)"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from convlens.errors import InputError

LONGEST = 64
SHIFT = 0.25
"""Pictures are moved against each other by at most this share of their side."""


def spectra(pictures: Float[Tensor, "n c h w"]) -> Tensor:
    """What ``likeness`` compares: pictures of unit length, shrunk to at most 64 pixels, in the frequency domain."""
    longest = max(pictures.shape[-2:])
    if longest > LONGEST:
        height, width = (max(1, round(side * LONGEST / longest)) for side in pictures.shape[-2:])
        pictures = F.adaptive_avg_pool2d(pictures, (height, width))
    unit = F.normalize(pictures.flatten(1), dim=1).view_as(pictures)
    # Twice the size, or what leaves on one side would come in on the other.
    return torch.fft.rfft2(unit, s=[2 * side for side in pictures.shape[-2:]])


def similarity(first: Tensor, second: Tensor) -> Float[Tensor, " n"]:
    """Greatest cosine of each pair of pictures, over shifts of up to a quarter of their side, from their spectra."""
    products = torch.fft.irfft2((first * second.conj()).sum(-3))
    height, width = products.shape[-2] // 2, products.shape[-1] // 2
    rows, columns = (int(SHIFT * side) for side in (height, width))
    near = torch.cat([products[..., : rows + 1, :], products[..., products.shape[-2] - rows :, :]], -2)
    near = torch.cat([near[..., : columns + 1], near[..., near.shape[-1] - columns :]], -1)
    return near.flatten(-2).amax(-1)


def pairs_within(spectrum: Tensor) -> Float[Tensor, " pairs"]:
    """Likeness of each two pictures of one map."""
    first, second = torch.triu_indices(len(spectrum), len(spectrum), 1)
    return similarity(spectrum[first], spectrum[second])


def pairs_across(spectrum: Tensor, others: Tensor) -> Float[Tensor, " pairs"]:
    """Likeness of a map's pictures to those of another, as many pairs as there are within one of them."""
    first, second = torch.triu_indices(len(spectrum), len(spectrum), 1)
    return similarity(spectrum[first], others[second % len(others)])


def auc_table(within: list[np.ndarray], across: list[np.ndarray]) -> Float[np.ndarray, "maps maps"]:
    """For maps m and n, how often a pair within m is more alike than a pair across n; ties count half.

    The mean of the table is the area under the ROC curve (0.5 is chance) of telling pairs within from pairs across;
    the mean of a table of maps drawn with replacement is one of its bootstrap resamples.

    Raises:
        InputError: not the same number of maps in both, or none.
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
