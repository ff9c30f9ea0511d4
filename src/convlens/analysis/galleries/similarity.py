"""Similarity of pictures at any shift, within and across feature maps, and the same for random phases (Fig 2)."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor
from torch.nn import functional as F

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


def pairs_across(maps: Sequence[Complex[Tensor, "_ c h w"]], number: int) -> Float[Tensor, " pairs"]:
    """Return the similarity of a map's pictures to pictures of other maps, as many pairs as `pairs_within` has.

    Each picture is in as many pairs, but for one; the others are drawn at random with a fixed seed.

    Args:
        maps: `spectra` of the pictures of each map, at least two maps.
        number: index of the map.
    """
    own = maps[number]
    count = len(own) * (len(own) - 1) // 2
    rng = np.random.default_rng(number)
    others = rng.integers(0, len(maps) - 1, count)
    others += others >= number
    ranks = rng.random(count)
    second = [maps[other][int(rank * len(maps[other]))] for other, rank in zip(others, ranks, strict=True)]
    return similarity(own[torch.arange(count) % len(own)], torch.stack(second))


def phase_randomized(spectrum: Complex[Tensor, "n c h w"], generator: torch.Generator) -> Complex[Tensor, "n c h w"]:
    """Return `spectra` of pictures with the power spectrum of the given ones and random phases (Theiler et al. 1992).

    All channels of a picture get the same phases, which keeps their relations (Prichard and Theiler 1994): what such
    pictures of one map have in common are smoothness, directions and colors, but no structure. The spectrum is that
    of the picture padded with zeros, of which the middle part is kept, so that the picture does not become periodic.

    Args:
        spectrum: `spectra` of the pictures.
        generator: draws the phases.
    """
    height, width = spectrum.shape[-2] // 2, spectrum.shape[-1] - 1
    noise = torch.randn(len(spectrum), 1, 2 * height, 2 * width, generator=generator, dtype=spectrum.real.dtype)
    phases = torch.fft.rfft2(noise).sgn()
    return spectra(torch.fft.irfft2(spectrum * phases, s=(2 * height, 2 * width))[..., :height, :width])


def auc(within: Float[np.ndarray, " pairs"], across: Float[np.ndarray, " others"]) -> float:
    """Return the area under the ROC curve: how often the first values exceed the second ones; ties count half."""
    ordered = np.sort(across)
    below = np.searchsorted(ordered, within, "left") + np.searchsorted(ordered, within, "right")
    return float(below.mean() / (2 * len(across)))
