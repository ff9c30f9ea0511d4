"""Frequency spectra of filters, and the peak of a stride's frequency in projections (paper, section 4.1 and Fig 6)."""

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
NEIGHBOURS = (-4, -3, -2, 2, 3, 4)
"""Distances from a peak at which the background is measured, in cycles per window: the Hann window leaks to 1 only."""


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


def filter_spectra(weight: Float[Tensor, "maps in kh kw"], size: int | None = None) -> FilterSpectra:
    """Return the radial spectra of filters; each filter counts equally, whatever its strength.

    A smaller filter spreads the same content over more frequencies: only filters of one size can be compared.

    Args:
        weight: the filters.
        size: side in pixels to which their middle is cropped first; None for whole filters.
    """
    planes = centre_crop(weight.detach().cpu().double(), size)
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


def centre_crop(values: Float[Tensor, "*n h w"], size: int | None) -> Float[Tensor, "*n h2 w2"]:
    """Return the middle of the last two axes, of at most this side in pixels; all of it for None."""
    height, width = (min(n, size or n) for n in values.shape[-2:])
    top, left = (values.shape[-2] - height) // 2, (values.shape[-1] - width) // 2
    return values[..., top : top + height, left : left + width]


def grid_peak(
    pictures: Float[Tensor, "n c h w"], stride: int, *, other: int | None = None, window: int | None = None
) -> float:
    """Return the power at a stride's frequency over the background that neighbouring frequencies suggest.

    The power is that along both axes at 1 / stride cycles per pixel, without harmonics, in the periodogram of the
    pictures' middle in a Hann window. Each picture is divided by its total power, then their mean is taken. The
    background is a parabola through the logarithms of the power at neighbouring frequencies: a broad maximum, such as
    that of oriented filters, is no peak, and a power law is followed within 4 %.

    Args:
        pictures: such as projections.
        stride: in pixels.
        other: the stride of a network to compare with; None for none.
        window: side of the window in pixels; at most the pictures' smaller side, which is also that for None.

    Returns:
        About 1 without a peak. NaN without power, for a stride of 1, and in a window that is too small for neighbours
        which are a peak's width away from all multiples of 1 / stride and 1 / other: strides of 4 and 2 need 24 px.
    """
    size = min(*pictures.shape[-2:], window or pictures.shape[-1])
    frequencies = 1 / stride + np.array([0, *NEIGHBOURS]) / size
    if stride < 2 or not len(pictures) or not all(_clear(f, size, stride, other) for f in frequencies[1:]):
        return float("nan")
    power = _axis_power(pictures, size, frequencies)
    if not (power > 0).all():
        return float("nan")
    background = np.polyval(np.polyfit(NEIGHBOURS, np.log(power[1:]), 2), 0)
    return float(power[0] / np.exp(background))


def _clear(frequency: float, size: int, stride: int, other: int | None) -> bool:
    """Return whether a frequency is at least the width of a peak away from those of both grids' other harmonics."""
    harmonics = {m / step for step in (stride, other or stride) for m in range(step + 1)} - {1 / stride}
    return all(abs(frequency - harmonic) > 2 / size - 1e-9 for harmonic in harmonics)


def _axis_power(
    pictures: Float[Tensor, "n c h w"], size: int, frequencies: Float[np.ndarray, " k"]
) -> Float[np.ndarray, " k"]:
    """Return the power at frequencies along both axes, mean over pictures of equal total power."""
    crop = centre_crop(pictures.detach().cpu().double(), size).numpy()
    hann = np.hanning(size + 1)[:-1]  # of period ``size``: it passes nothing at 2, 3, ... cycles in the window
    window = hann[:, None] * hann
    seen = (crop - (crop * window).sum((2, 3), keepdims=True) / window.sum()) * window
    total = (seen**2).sum((1, 2, 3))
    seen = seen[total > 0] / np.sqrt(total[total > 0])[:, None, None, None]
    waves = np.exp(-2j * np.pi * frequencies[:, None] * np.arange(size))
    power = sum((np.abs(seen.sum(axis) @ waves.T) ** 2).sum(1) for axis in (2, 3))
    return np.asarray(power, float).mean(0) if len(seen) else np.zeros(len(frequencies))
