import numpy as np
import pytest
import torch

from convlens.analysis.diagnosis.spectra import centre_crop, filter_spectra, grid_peak
from tests.analysis.diagnosis.planted import lattice, noise


def wave(size: int, frequency: float) -> torch.Tensor:
    return torch.cos(2 * np.pi * frequency * torch.arange(size, dtype=torch.float64)).expand(size, size)


# ---- bands of filters -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("frequency", "band"), [(0.05, 0), (0.25, 1), (0.45, 2)])
def test_a_wave_has_its_power_in_its_band_whatever_the_size_of_the_filter(frequency, band):
    for size in (11, 23):
        spectra = filter_spectra(wave(size, frequency)[None, None].float())
        shares = [spectra.low, spectra.middle, spectra.high]
        assert np.argmax(shares) == band
        assert sum(shares) == pytest.approx(100)
        assert spectra.power.sum() == pytest.approx(1)
        assert abs(spectra.frequency[spectra.power.argmax()] - frequency) < 1 / 16


def test_spectra_by_hand():
    # A single pixel has as much power at every frequency: the share of a band is its share of the plane.
    spike = torch.zeros(1, 1, 5, 5)
    spike[0, 0, 2, 2] = 3
    axis = np.fft.fftfreq(64)
    radius = np.hypot(axis[:, None], axis[None])
    expected = [100 * (radius < 1 / 6).mean(), 100 * ((radius >= 1 / 6) & (radius < 1 / 3)).mean()]
    assert [filter_spectra(spike).low, filter_spectra(spike).middle] == pytest.approx(expected)


def test_each_filter_counts_alike_and_one_of_zeros_not_at_all():
    low, high = wave(9, 0.0)[None], wave(9, 0.5)[None]
    found = filter_spectra(torch.stack([low, 1000 * high, 0 * low]).float())
    assert len(found.per_filter) == 2
    assert found.low == pytest.approx(found.per_filter[0, 0] / 2 + found.per_filter[1, 0] / 2)
    nothing = filter_spectra(torch.zeros(2, 1, 3, 3))
    assert np.isnan(nothing.middle)


@pytest.mark.parametrize("size", [7, 5])
def test_cropped_filters_have_the_spectra_of_their_middle(size):
    filters = torch.randn(6, 3, 11, 11, generator=torch.Generator().manual_seed(0))
    edge = (11 - size) // 2
    assert filter_spectra(filters, size).middle == filter_spectra(filters[..., edge:-edge, edge:-edge]).middle
    assert filter_spectra(filters, 20).middle == filter_spectra(filters).middle
    assert centre_crop(filters, 4).shape == (6, 3, 4, 4)


def test_a_smaller_window_moves_power_to_middle_frequencies_and_equal_windows_do_not():
    """1/f^1.5 noise, of which 11 pixels show 9 % of middle frequencies and 7 pixels 14 %."""
    pictures = noise(100, 23, np.random.default_rng(0))
    whole, cropped, small = (
        filter_spectra(*of).middle
        for of in ((centre_crop(pictures, 11),), (centre_crop(pictures, 11), 7), (centre_crop(pictures, 7),))
    )
    assert small > whole + 3
    assert cropped == small


# ---- the peak at a stride ---------------------------------------------------------------------------------------


def literal_peak(pictures: np.ndarray, stride: int) -> float:
    """Power at 1 / stride over the background, term by term."""
    n = pictures.shape[-1]
    hann = [0.5 - 0.5 * np.cos(2 * np.pi * x / n) for x in range(n)]

    def power(frequency: float) -> float:
        total = 0.0
        for picture in pictures:
            mean = [
                sum(channel[y, x] * hann[y] * hann[x] for y in range(n) for x in range(n)) / sum(hann) ** 2
                for channel in picture
            ]
            seen = [
                np.array([[(channel[y, x] - m) * hann[y] * hann[x] for x in range(n)] for y in range(n)])
                for channel, m in zip(picture, mean, strict=True)
            ]
            along = [
                abs(sum(np.exp(-2j * np.pi * frequency * (x, y)[axis]) * s[y, x] for y in range(n) for x in range(n)))
                for s in seen
                for axis in (0, 1)
            ]
            total += sum(a**2 for a in along) / sum((s**2).sum() for s in seen)
        return total

    bins = [-4, -3, -2, 2, 3, 4]
    columns = np.array([[1.0, k, k**2] for k in bins])
    fit, *_ = np.linalg.lstsq(columns, np.log([power(1 / stride + k / n) for k in bins]), rcond=None)
    return power(1 / stride) / np.exp(fit[0])


@pytest.mark.parametrize(("size", "stride"), [(24, 4), (25, 4), (18, 3), (12, 2)])
def test_a_peak_is_the_literal_one(size, stride):
    pictures = noise(2, size, np.random.default_rng(size), slope=0.7, channels=2)
    assert grid_peak(pictures, stride) == pytest.approx(literal_peak(pictures.numpy(), stride), rel=1e-4)


def test_a_peak_by_hand():
    """Six pixels, 4 apart in one row: along the row the window's own spectrum, which ends after one bin.

    There the power at 1/4 is the square of the window's sum and that of the neighbours 0; along the columns it is that
    square at all frequencies. Both together: twice the background.
    """
    row = torch.zeros(1, 1, 24, 24)
    row[0, 0, 12, ::4] = 5
    assert grid_peak(row, 4) == pytest.approx(2)
    dot = torch.zeros(1, 1, 24, 24)
    dot[0, 0, 12, 12] = 5
    assert grid_peak(dot, 4) == pytest.approx(1)


def test_pictures_count_alike_and_those_of_zeros_not_at_all():
    one, other = (noise(1, 27, np.random.default_rng(seed)) for seed in (0, 1))
    expected = grid_peak(torch.cat([one, other]), 4)
    assert grid_peak(torch.cat([one, 1000 * other, 0 * other]), 4) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("tile", [27, 51, 75])
def test_a_lattice_of_two_pixels_is_none_of_four(tile):
    rng = np.random.default_rng(tile)
    pictures = noise(64, tile, rng)
    none, two, four = (
        grid_peak(lattice(pictures, step, 0.2) if step else pictures, 4, other=2, window=27) for step in (0, 2, 4)
    )
    assert 0.7 < none < 1.4
    assert two == pytest.approx(none, rel=0.05)
    assert four > 4 * none


@pytest.mark.parametrize("tile", [27, 51, 75])
@pytest.mark.parametrize("slope", [0.5, 1.5])
def test_noise_without_a_grid_has_no_peak_whatever_its_slope_and_size(tile, slope):
    peaks = [grid_peak(noise(32, tile, np.random.default_rng(seed), slope=slope), 4, window=27) for seed in range(8)]
    # The mean of eight logarithms, each with a standard deviation of about 0.2.
    assert abs(np.log(peaks).mean()) < 0.2


def test_a_broad_maximum_is_no_peak():
    """Filters that prefer waves of 4 pixels, of any position: the parabola follows their spectrum."""
    rng = np.random.default_rng(0)
    x = np.arange(27) - 13
    phase = rng.uniform(0, 2 * np.pi, (64, 1))
    gabor = np.exp(-((x - rng.uniform(-4, 4, (64, 1))) ** 2) / (2 * 2.0**2)) * np.cos(np.pi / 2 * x + phase)
    pictures = torch.from_numpy(np.exp(-(x**2) / 18)[:, None] * gabor[:, None])[:, None]
    assert grid_peak(pictures, 4) < 1.3


def test_windows_too_small_and_pictures_of_nothing_have_no_peak():
    pictures = noise(4, 27, np.random.default_rng(0))
    assert np.isnan(grid_peak(pictures, 4, window=23))
    assert np.isfinite(grid_peak(pictures, 4, window=24))
    assert np.isnan(grid_peak(pictures, 1))
    assert np.isnan(grid_peak(0 * pictures, 4))
    assert np.isnan(grid_peak(pictures[:0], 4))


def test_the_background_keeps_clear_of_the_other_networks_grid():
    """51 pixels are too few to tell 1/4 from 1/3 cycles per pixel, where a grid of the other network would add to the
    background; 75 are enough."""
    pictures = noise(64, 75, np.random.default_rng(0))
    with_other = lattice(pictures, 3, 0.2)
    assert grid_peak(with_other, 4, window=51) != pytest.approx(grid_peak(pictures, 4, window=51), rel=0.25)
    assert np.isnan(grid_peak(with_other, 4, other=3, window=51))
    assert grid_peak(with_other, 4, other=3) == pytest.approx(grid_peak(pictures, 4), rel=0.05)
