"""Which frequencies filters and projections hold, in cycles per pixel of the image (paper, section 4.1 and Fig 6)."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

GRID = 64
"""Filters of all sizes are padded to this many pixels, so that they share one frequency axis."""
BANDS = (1 / 6, 1 / 3)
"""Low below the first, middle between, high above; thirds of the way to the finest frequency of 1/2. Ours: the paper
speaks of low, middle and high frequencies and gives no numbers."""


@dataclass(frozen=True)
class FilterSpectra:
    """Power of a layer's filters.

    Attributes:
        frequency: middles of the rings, in cycles per pixel.
        power: mean over the filters of each filter's share of power in each ring.
        low: mean share of power below a sixth of a cycle per pixel, in percent.
        middle: between a sixth and a third.
        high: above.
        per_filter: the three shares of each filter, in percent; filters without any weight are left out.
    """

    frequency: Float[np.ndarray, " rings"]
    power: Float[np.ndarray, " rings"]
    low: float
    middle: float
    high: float
    per_filter: Float[np.ndarray, "maps 3"]


def filter_spectra(weight: Float[Tensor, "maps in kh kw"]) -> FilterSpectra:
    """Radial spectra of filters on the pixels; each counts alike, however strong it is."""
    planes = weight.detach().cpu().double()
    power = torch.fft.fft2(planes, s=(GRID, GRID)).abs().square().sum(1).flatten(1).numpy()
    power = power[power.sum(1) > 0]
    power = power / power.sum(1, keepdims=True)
    radius = radii(GRID).ravel()
    rings = np.arange(0, 0.5 + 1 / 32, 1 / 32)
    ring = np.clip(np.digitize(radius, rings) - 1, 0, len(rings) - 2)  # the corners belong to the last one
    by_ring = np.stack([power[:, ring == number].sum(1) for number in range(len(rings) - 1)], 1)
    bands = [radius < BANDS[0], (radius >= BANDS[0]) & (radius < BANDS[1]), radius >= BANDS[1]]
    shares = 100 * np.stack([power[:, band].sum(1) for band in bands], 1)
    low, middle, high = shares.mean(0) if len(shares) else np.full(3, np.nan)
    mean = by_ring.mean(0) if len(by_ring) else np.full(len(rings) - 1, np.nan)
    return FilterSpectra((rings[:-1] + rings[1:]) / 2, mean, float(low), float(middle), float(high), shares)


def radii(size: int) -> Float[np.ndarray, "size size"]:
    """Distance from zero frequency, in cycles per pixel."""
    axis = np.fft.fftfreq(size)
    return np.hypot(axis[:, None], axis[None])


def peak_at(pictures: Float[Tensor, "n c h w"], period: int) -> Float[np.ndarray, " n"]:
    """How far the power of each picture at a period stands above that of frequencies beside it.

    The period's frequency and its harmonics, as far as they are not beyond half a cycle per pixel, along either axis:
    the power there over that a little below and above, where a grid of that period leaves nothing. About 1 where there
    is no peak; NaN for a picture without power, or one too small for two periods.
    """
    found = []
    for picture in pictures.detach().cpu().double():
        # A whole number of periods, or the peak would leak; weighted down to zero at the border for the same reason.
        height, width = (n // (2 * period) * 2 * period for n in picture.shape[1:])
        window = torch.hann_window(height, dtype=torch.float64)[:, None] * torch.hann_window(width, dtype=torch.float64)
        if min(height, width) < 2 * period:
            found.append(float("nan"))
            continue
        part = picture[:, :height, :width]
        power = torch.fft.fft2((part - part.mean((1, 2), keepdim=True)) * window).abs().square().sum(0)
        ratios = []
        for axis, size in ((0, height), (1, width)):
            lines = power.sum(1 - axis)
            step = size // period
            for harmonic in range(1, period // 2 + 1):
                at = harmonic * step
                away = min(max(3, step // 4), max(1, step // 2))  # past the width that the window gives a peak
                beside = [at - away, (at + away) % size]
                ratios.append((float(lines[at]), float(np.mean([float(lines[place]) for place in beside]))))
        peak, near = (sum(column) for column in zip(*ratios, strict=True))
        found.append(peak / near if near > 0 else float("nan"))
    return np.array(found)
