"""Frequency spectra of filters, and aliasing peaks in projections (paper, section 4.1 and Fig 6)."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from convlens.ops.tensor_repr import summary

GRID = 64
"""Filters are padded to this many pixels, so that filters of all sizes share one frequency axis."""
BANDS = (1 / 6, 1 / 3)
"""Bounds of low, middle and high frequencies in cycles per pixel: thirds of the highest frequency, 1/2. They are ours:
the paper gives no numbers."""


@dataclass(frozen=True)
class FilterSpectra:
    """Spectra of a layer's filters.

    Attributes:
        frequency: centres of 16 rings in the frequency plane, in cycles per pixel.
        power: share of a filter's power in each ring, mean over the filters.
        low: mean share of power below 1/6 cycles per pixel, in percent.
        middle: mean share between 1/6 and 1/3, in percent.
        high: mean share above 1/3, in percent.
        per_filter: low, middle and high share of each filter, in percent; filters of zeros are left out.
    """

    frequency: Float[np.ndarray, " rings"]
    power: Float[np.ndarray, " rings"]
    low: float
    middle: float
    high: float
    per_filter: Float[np.ndarray, "maps 3"]

    __repr__ = summary


def filter_spectra(weight: Float[Tensor, "maps in kh kw"]) -> FilterSpectra:
    """Return the radial spectra of filters; each filter counts equally, whatever its strength."""
    planes = weight.detach().cpu().double()
    power = torch.fft.fft2(planes, s=(GRID, GRID)).abs().square().sum(1).flatten(1).numpy()
    power = power[power.sum(1) > 0]
    power = power / power.sum(1, keepdims=True)
    radius = radii(GRID).ravel()
    rings = np.arange(0, 0.5 + 1 / 32, 1 / 32)
    ring = np.clip(np.digitize(radius, rings) - 1, 0, len(rings) - 2)  # the corners count as the last ring
    by_ring = np.stack([power[:, ring == number].sum(1) for number in range(len(rings) - 1)], 1)
    bands = [radius < BANDS[0], (radius >= BANDS[0]) & (radius < BANDS[1]), radius >= BANDS[1]]
    shares = 100 * np.stack([power[:, band].sum(1) for band in bands], 1)
    low, middle, high = shares.mean(0) if len(shares) else np.full(3, np.nan)
    mean = by_ring.mean(0) if len(by_ring) else np.full(len(rings) - 1, np.nan)
    return FilterSpectra((rings[:-1] + rings[1:]) / 2, mean, float(low), float(middle), float(high), shares)


def radii(size: int) -> Float[np.ndarray, "size size"]:
    """Return the distance of each point of a discrete spectrum from zero frequency, in cycles per pixel."""
    axis = np.fft.fftfreq(size)
    return np.hypot(axis[:, None], axis[None])


def peak_at(pictures: Float[Tensor, "n c h w"], period: int) -> Float[np.ndarray, " n"]:
    """Return the power of each picture at a period over the power at neighbouring frequencies.

    Power is summed over the period's frequency and its harmonics up to half a cycle per pixel, along both axes, and
    divided by the mean power a little below and above them, where a grid of that period has none.

    Args:
        pictures: such as projections.
        period: in pixels.

    Returns:
        About 1 without a peak; NaN for a picture without power or smaller than two periods.
    """
    return np.array([_peak(picture, period) for picture in pictures.detach().cpu().double()])


def _peak(picture: Float[Tensor, "c h w"], period: int) -> float:
    # A whole number of periods and a window that is zero at the border, against leakage of the peak.
    height, width = (n // (2 * period) * 2 * period for n in picture.shape[1:])
    if min(height, width) < 2 * period:
        return float("nan")
    window = torch.hann_window(height, dtype=torch.float64)[:, None] * torch.hann_window(width, dtype=torch.float64)
    crop = picture[:, :height, :width]
    power = torch.fft.fft2((crop - crop.mean((1, 2), keepdim=True)) * window).abs().square().sum(0)
    ratios = []
    for axis, size in ((0, height), (1, width)):
        lines = power.sum(1 - axis)
        fundamental = size // period
        for harmonic in range(1, period // 2 + 1):
            at = harmonic * fundamental
            offset = min(max(3, fundamental // 4), max(1, fundamental // 2))  # beyond the window's width of a peak
            neighbours = [at - offset, (at + offset) % size]
            ratios.append((float(lines[at]), float(np.mean([float(lines[index]) for index in neighbours]))))
    peak, near = (sum(column) for column in zip(*ratios, strict=True))
    return peak / near if near > 0 else float("nan")
