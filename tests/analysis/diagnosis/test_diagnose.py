import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

import convlens
from convlens.analysis.diagnosis.claims import clipping_claim, diagnosis_claims, rank_correlation
from convlens.analysis.diagnosis.diagnose import Diagnosis, diagnose
from convlens.analysis.diagnosis.filter_health import FilterHealth
from convlens.analysis.diagnosis.shift_error import ShiftError, shift_errors
from convlens.analysis.diagnosis.spectra import FilterSpectra, filter_spectra, peak_at
from convlens.errors import InputError
from convlens.nets import zfnet
from convlens.ops.receptive_field import ReceptiveField


def wave(size: int, frequency: float) -> torch.Tensor:
    return torch.cos(2 * np.pi * frequency * torch.arange(size, dtype=torch.float64)).expand(size, size)


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


def test_a_grid_stands_out_at_its_period_and_noise_does_not():
    torch.manual_seed(0)
    noise = torch.randn(20, 3, 48, 48)
    assert 0.7 < np.median(peak_at(noise, 4)) < 1.4
    grid = noise.clone()
    grid[..., ::4] += 6
    # Each line of the power has 48 values of noise; the grid adds 48^2 / 16 * 6^2 of its own to one, in one direction.
    assert np.median(peak_at(grid, 4)) > 15
    assert np.median(peak_at(grid, 3)) < 2
    assert np.isnan(peak_at(torch.zeros(1, 3, 48, 48), 4)).all()
    assert np.isnan(peak_at(torch.randn(1, 3, 7, 7), 4)).all()


# ---- shifts -----------------------------------------------------------------------------------------------------


class Sampled(nn.Module):
    """Every so many pixels of the image, smoothed or not."""

    def __init__(self, stride: int, smooth: bool) -> None:
        super().__init__()
        size = 4 * stride + 1 if smooth else 1
        self.a = nn.Conv2d(1, 1, size, stride, size // 2, bias=False)
        ramp = torch.minimum(torch.arange(1.0, size + 1), torch.arange(size, 0.0, -1)) if smooth else torch.ones(1)
        self.a.weight.data = (ramp[:, None] * ramp)[None, None] / ramp.sum() ** 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.a(x)


def error(stride: int, smooth: bool, images: torch.Tensor, shifts=(1, 2, 3)) -> np.ndarray:
    net = Sampled(stride, smooth)
    size = net.a.kernel_size[0]
    field = ReceptiveField((size, size), (stride, stride), (-(size // 2), -(size // 2)))
    return shift_errors(net, list(images), 32, {"a": field}, shifts=shifts)["a"].error


def test_a_layer_at_stride_1_moves_with_the_image():
    torch.manual_seed(0)
    assert error(1, False, torch.rand(3, 1, 40, 40)).max() < 1e-6


def test_a_shift_by_the_stride_is_a_shift_by_a_place():
    torch.manual_seed(0)
    assert error(2, False, torch.rand(3, 1, 40, 40), shifts=(2, 4)).max() < 1e-6


def test_coarse_sampling_of_noise_changes_more_than_the_stride_explains_and_smoothing_cures_it():
    torch.manual_seed(0)
    noise = torch.rand(6, 1, 40, 40)
    assert error(4, False, noise).mean() > 0.7
    assert error(4, True, noise).mean() < 0.5 * error(4, False, noise).mean()


def test_images_too_small_to_move_are_refused():
    field = ReceptiveField((1, 1), (1, 1), (0, 0))
    with pytest.raises(InputError, match="images of 33 px leave no room to shift a crop of 32 px"):
        shift_errors(Sampled(1, False), [torch.zeros(1, 33, 33)], 32, {"a": field})


# ---- the whole --------------------------------------------------------------------------------------------------


def test_a_network_is_diagnosed():
    torch.manual_seed(0)
    net = zfnet(5, input_size=64, width=0.2, init="he").eval()
    with torch.no_grad():
        weight = net.get_submodule("conv1.filter").weight
        weight[0] *= 30
        weight[1] = 0
    images = torch.randn(6, 3, 64, 64)
    larger = [torch.rand(3, 74, 74) for _ in range(3)]
    found = diagnose(net, images, larger=larger, names=("conv1", "conv2"), preprocess=lambda x: x * 50)
    assert (found.layer, found.kernel, found.stride, found.second) == ("conv1", 7, 2, "conv2")
    assert found.health.spread > 20
    assert set(found.aliasing) == {4, 2}
    assert set(found.shifts) == {"conv1", "conv2"}
    assert found.shifts["conv1"].stride == 2
    assert len(repr(found)) < 800
    assert "FilterHealth(rms=[" in repr(found)
    said = [finding.change for finding in found.findings]
    assert said[0].startswith("renormalise filters whose RMS exceeds 0.1")
    assert convlens.diagnose is diagnose
    with pytest.raises(InputError, match="Sequential has 1 convolutions: a diagnosis needs two"):
        diagnose(nn.Sequential(nn.Conv2d(3, 2, 3)), images)
    with pytest.raises(InputError, match="at least one image"):
        diagnose(net, images[:0])


def diagnosis(middle: float, dead: int, peak: float, error: float, spread: float = 1.0) -> Diagnosis:
    rng = np.random.default_rng(int(1000 * middle))
    rms = torch.ones(40)
    rms[0] = spread
    shares = np.stack([np.full(40, 50.0), middle + rng.normal(0, 3, 40), np.full(40, 20.0)], 1)
    spectra = FilterSpectra(np.zeros(1), np.zeros(1), 50.0, middle, 20.0, shares)
    health = FilterHealth(rms, torch.arange(40) < dead)
    aliasing = {4: peak * np.exp(rng.normal(0, 0.2, 30))}
    shifts = {"conv1": ShiftError(4, error + rng.normal(0, 0.02, (20, 3)))}
    return Diagnosis("conv1", 11, 4, health, 0.0, spectra, "conv2", aliasing, shifts)


def test_claims_of_a_sick_and_a_healthy_network():
    sick, healthy = diagnosis(20, 12, 4.0, 0.8), diagnosis(40, 1, 1.1, 0.3)
    claims = diagnosis_claims(("alexnet", sick), ("zfnet", healthy))
    assert [(claim.number, claim.verdict) for claim in claims] == [(14, "supports"), (15, "supports")]
    assert [claim.verdict for claim in diagnosis_claims(("a", healthy), ("b", sick))] == ["refutes", "refutes"]
    same = diagnosis_claims(("a", diagnosis(30, 4, 2.0, 0.5)), ("b", diagnosis(30, 4, 2.0, 0.5)))
    assert {claim.verdict for claim in same} == {"can't tell"}


def test_clipping_is_decided_over_runs():
    wild, tame = [diagnosis(30, 0, 1, 0.5, 8 + n) for n in range(6)], [diagnosis(30, 0, 1, 0.5, 1.5)] * 6
    assert clipping_claim(wild, tame).verdict == "supports"
    assert clipping_claim(wild[:3], tame[:3]).verdict == "can't tell"


def test_rank_correlation_is_scipys():
    values, errors = [3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0], [0.3, 0.2, 0.1, 0.1, 0.7, 0.9, 0.6]
    found, p = rank_correlation(values, errors)
    expected = stats.spearmanr(values, errors)
    assert found == pytest.approx(expected.statistic)
    assert p == pytest.approx(expected.pvalue, abs=0.05)
    assert rank_correlation([1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1])[0] == pytest.approx(-1)
    assert np.isnan(rank_correlation([1, 1, 1], [1, 2, 3])[0])
    assert np.isnan(rank_correlation([1, 2], [1, 2])[0])
