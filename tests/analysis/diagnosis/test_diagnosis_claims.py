import itertools
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats

from convlens.analysis.diagnosis.claims import (
    diagnosis_claims,
    equal_window,
    fair_shifts,
    permutation_test,
    shift_change,
    stride_claims,
)
from convlens.analysis.diagnosis.diagnose import diagnose
from convlens.analysis.diagnosis.run_groups import CLIP, DiagnosedNetwork, RunGroup
from convlens.nets import alexnet, zfnet
from convlens.stats.claims import Claim
from tests.analysis.diagnosis.planted import diagnosed, group, lattice, noise

Draw = Callable[[np.random.Generator], torch.Tensor]


def waves(rng: np.random.Generator, size: int, share: float, dead: int = 0) -> torch.Tensor:
    """Filters of which a share is a wave of a quarter cycle per pixel and the others one of a twentieth, in noise."""
    middle = torch.arange(40) < 40 * share
    frequency = torch.where(middle, 0.25, 0.05)[:, None, None, None]
    phase = torch.from_numpy(rng.uniform(0, 6.28, (40, 1, 1, 1)))
    filters = torch.cos(6.2832 * frequency * torch.arange(size) + phase).expand(40, 1, size, size).float().clone()
    filters += 0.1 * torch.from_numpy(rng.normal(size=filters.shape)).float()
    filters[:dead] = 0
    return filters


def side(stride: int, filters: Draw, projections: Draw | None = None, runs: int = 3, seed: int = 0, **more) -> RunGroup:
    """Runs whose filters and projections are drawn one after the other."""
    rng = np.random.default_rng(100 * seed + stride)
    return group(
        *(
            diagnosed(
                number,
                filters=filters(rng),
                stride=stride,
                projections=None if projections is None else projections(rng),
                **more,
            )
            for number in range(runs)
        )
    )


def frequency_claim(coarse: Draw, fine: Draw, **more) -> Claim:
    return stride_claims(side(4, coarse, **more), side(2, fine, **more))[0]


def aliasing_claim(
    coarse: Draw, fine: Draw, changes=(None, None), strides=(4, 2), runs: int = 3, seed: int = 0
) -> Claim:
    def filters(rng: np.random.Generator) -> torch.Tensor:
        return torch.from_numpy(rng.normal(size=(4, 1, 7, 7))).float()

    sides = [
        side(stride, filters, drawn, runs, seed, change=change)
        for stride, drawn, change in zip(strides, (coarse, fine), changes, strict=True)
    ]
    return stride_claims(*sides)[1]


# ---- claim 14: middle frequencies and dead filters --------------------------------------------------------------


def test_more_middle_frequencies_and_fewer_dead_filters_support_claim_14_and_the_opposite_refutes_it():
    def sick(rng):
        return waves(rng, 11, 0.2, dead=int(rng.integers(5, 9)))

    def healthy(rng):
        return waves(rng, 7, 0.6, dead=int(rng.integers(0, 2)))

    found = frequency_claim(sick, healthy)
    assert (found.number, found.verdict) == (14, "supports")
    assert found.about == "net 7x7/2 (3 runs) against net 11x11/4 (3 runs)"
    assert 0.2 < found.estimate.value < 0.6
    assert found.estimate.count == 3
    assert frequency_claim(healthy, sick).verdict == "refutes"
    assert frequency_claim(sick, healthy, runs=2).verdict == "can't tell"


def test_middle_frequencies_alone_do_not_support_claim_14():
    found = frequency_claim(lambda rng: waves(rng, 11, 0.2), lambda rng: waves(rng, 7, 0.6))
    assert found.estimate.low > 0
    assert found.verdict == "can't tell"  # no filter is dead in either
    assert found.details["dead filters, net 11x11/4"] == "0.0%"


@pytest.mark.parametrize("sizes", [(11, 7), (11, 5), (7, 5)])
def test_the_size_of_the_filters_alone_makes_no_difference(sizes):
    """A wave of 0.10 cycles per pixel in any position, and 1/f^1.5 noise: the same content in two windows."""

    def grating(size: int) -> Draw:
        def draw(rng):
            phase = torch.from_numpy(rng.uniform(0, 6.28, (60, 1, 1, 1)))
            return torch.cos(6.2832 * 0.1 * (torch.arange(size) - size // 2) + phase).expand(60, 1, size, size).float()

        return draw

    def cropped(size: int) -> Draw:
        def draw(rng):
            edge = (23 - size) // 2
            return noise(60, 23, rng)[..., edge : edge + size, edge : edge + size]

        return draw

    for content in (grating, cropped):
        found = frequency_claim(content(sizes[0]), content(sizes[1]))
        assert found.verdict in ("can't tell", "no effect")
        assert abs(found.estimate.value) < 0.03
        whole = [
            found.details[f"middle frequencies in whole filters, net {n}x{n}/{s}"]
            for n, s in zip(sizes, (4, 2), strict=True)
        ]
        assert float(whole[1].strip("%")) > float(whole[0].strip("%")) + 2  # as it was measured before


# ---- claim 15: the peak at the stride ---------------------------------------------------------------------------


def tiles(size: int, step: int = 0, strength: float = 0.2) -> Draw:
    def draw(rng):
        pictures = noise(16, size, rng)
        return lattice(pictures, step, strength) if step else pictures

    return draw


def test_a_grid_of_the_coarse_stride_supports_claim_15():
    found = aliasing_claim(tiles(51, 4), tiles(27))
    assert (found.number, found.verdict, found.estimate.count) == (15, "supports", 3)
    assert found.estimate.value > 1
    assert set(found.details) == {
        "peak at 4 px in windows of 27 px, net 7x7/4",
        "peak at 4 px in windows of 27 px, net 7x7/2",
        "first layer's change under shifts by 1 or 3 px, net 7x7/4",
        "first layer's change under shifts by 1 or 3 px, net 7x7/2",
    }
    assert aliasing_claim(tiles(51), tiles(27, 4)).verdict == "refutes"
    assert aliasing_claim(tiles(51, 4), tiles(27), runs=2).verdict == "can't tell"


def test_a_grid_of_the_fine_stride_takes_nothing_from_one_of_the_coarse_stride():
    assert aliasing_claim(tiles(51, 4), tiles(27, 2)).verdict == "supports"


@pytest.mark.parametrize("tile", [27, 51, 75])
def test_a_grid_of_two_pixels_in_the_coarse_network_is_no_aliasing_of_its_stride(tile):
    assert aliasing_claim(tiles(tile, 2), tiles(27)).verdict == "can't tell"
    assert aliasing_claim(tiles(tile, 4), tiles(27)).verdict == "supports"


def test_the_size_of_the_tiles_decides_nothing():
    """Noise without a grid, 51 pixels against 27, which the ratio of sums called aliasing every time."""
    verdicts = Counter(aliasing_claim(tiles(51), tiles(27), seed=seed).verdict for seed in range(8))
    assert verdicts["can't tell"] >= 7


def test_the_coarse_network_must_have_a_peak_of_its_own():
    """More than the fine one, which has less than its neighbours at that frequency."""

    def dip(rng):
        spectrum = torch.fft.fft2(noise(16, 96, rng))
        for line in (*range(21, 28), *range(69, 76)):  # about 24 of 96 cycles, as wide as a window of 27 px sees it
            spectrum[..., line, :] *= 0.3
            spectrum[..., line] *= 0.3
        return torch.fft.ifft2(spectrum).real[..., :27, :27]

    found = aliasing_claim(tiles(51), dip)
    assert found.estimate.low > 0
    assert found.verdict == "can't tell"


def test_the_first_layer_must_change_more_under_shifts_that_are_exact_for_neither_stride():
    def verdict(coarse: dict, fine: dict, strides=(4, 2)) -> str:
        return aliasing_claim(tiles(51, 4), tiles(27), (coarse, fine), strides).verdict

    much, little = {1: 0.6, 2: 0.6, 3: 0.6}, {1: 0.3, 2: 0.0, 3: 0.3}
    assert verdict(much, little) == "supports"
    assert verdict(little, much) == "refutes"
    # A shift by two pixels is exact at stride 2: that it changes nothing there is no merit.
    assert verdict(much, {1: 0.6, 2: 0.0, 3: 0.6}) == "can't tell"
    # All whole pixels are exact at stride 1, which leaves nothing to compare.
    assert verdict(little, {1: 0.0, 2: 0.0, 3: 0.0}, (4, 1)) == "supports"


def test_fair_shifts_by_hand():
    expected = {(4, 2): [1, 3], (4, 4): [1, 2, 3], (4, 1): [], (3, 2): [1]}
    assert {strides: fair_shifts(strides) for strides in expected} == expected
    found = diagnosed(0, change={1: 0.2, 2: 0.9, 3: 0.4}).found
    assert shift_change(found, (4, 2)) == pytest.approx(0.3, abs=0.01)
    assert shift_change(found, (4,)) == pytest.approx(0.5, abs=0.01)
    assert np.isnan(shift_change(found, (1,)))
    assert np.isnan(shift_change(diagnosed(0).found, (4, 2)))


def test_small_fields_and_networks_without_projections_decide_nothing():
    assert equal_window([diagnosed(0).found]) == 0
    assert equal_window([diagnosed(0, projections=torch.ones(1, 3, n, 40)).found for n in (51, 27, 80)]) == 27
    small = aliasing_claim(tiles(51, 4), tiles(17))
    assert (small.verdict, small.estimate.count) == ("can't tell", 0)
    assert small.details["peak at 4 px in windows of 17 px, net 7x7/4"] == "unknown"
    assert stride_claims(group(diagnosed(0)), group(diagnosed(1, stride=2)))[1].verdict == "can't tell"


# ---- what is said beside the claims -----------------------------------------------------------------------------


def test_too_few_runs_are_told_what_would_decide():
    one = stride_claims(group(diagnosed(0)), group(diagnosed(1, stride=2)))
    command = "convlens task=diagnose task.run_dirs=[A0,A1,A2,B0,B1,B2]"
    assert [claim.details["three runs a side would decide"] for claim in one] == [command] * 2
    assert "three runs a side would decide" not in frequency_claim(*[lambda rng: waves(rng, 7, 0.5)] * 2).details


def test_randomized_weights_are_shown_beside_each_figure():
    control = diagnosed(7, filters=torch.zeros(4, 1, 11, 11), projections=tiles(51, 4)(np.random.default_rng(0))).found
    coarse = group(*(diagnosed(n, projections=tiles(51)(np.random.default_rng(n)), control=control) for n in range(3)))
    fine = group(*(diagnosed(n, stride=2, projections=tiles(27)(np.random.default_rng(9 + n))) for n in range(3)))
    fourteen, fifteen = stride_claims(coarse, fine)
    assert fourteen.details["dead filters, net 11x11/4"] == "0.0%; randomized weights 100.0%"
    assert fourteen.details["dead filters, net 11x11/2"] == "0.0%"
    own, randomized = fifteen.details["peak at 4 px in windows of 27 px, net 11x11/4"].split("; randomized weights ")
    assert float(randomized) > 3 * float(own)
    assert fifteen.verdict == "can't tell"  # the units are the runs


def test_what_else_differs_is_said():
    coarse = group(diagnosed(0, settings={"recipe.lr": 1, "model.name": "a", "data.limit": 5}))
    fine = group(diagnosed(0, stride=2, settings={"recipe.lr": 2, "model.name": "b"}))
    for claim in diagnosis_claims([coarse, fine, group(diagnosed(0, architecture="other"))]):
        assert claim.details["trained differently in"] == "data.limit, recipe.lr"
        assert claim.details["not compared"] == "other 11x11/4 (1 run)"


# ---- claim 16: clipping -----------------------------------------------------------------------------------------


def clipped(seed: int, strongest: float, clip: float | None) -> DiagnosedNetwork:
    filters = torch.randn(16, 3, 7, 7, generator=torch.Generator().manual_seed(seed))
    filters /= filters.square().mean((1, 2, 3), keepdim=True).sqrt()
    filters[0] *= strongest
    return diagnosed(seed, filters=filters, settings={"recipe.lr": 1} | ({CLIP: clip} if clip else {}))


def clipping_claim(without: list[float], with_clip: list[float]) -> Claim:
    sides = [[clipped(seed, value, clip) for seed, value in enumerate(values)]
             for values, clip in ((without, None), (with_clip, 0.1))]  # fmt: skip
    (found,) = diagnosis_claims([group(*networks) for networks in sides])
    return found


def test_clipping_is_decided_over_runs_by_hand():
    found = clipping_claim([4.0, 8.0, 6.0], [1.5, 2.0, 1.7])
    assert (found.number, found.verdict) == (16, "supports")
    assert found.estimate.value == pytest.approx(np.log([4, 8, 6]).mean() - np.log([1.5, 2, 1.7]).mean(), abs=1e-5)
    theirs = stats.ttest_ind(np.log([4, 8, 6]), np.log([1.5, 2, 1.7]), equal_var=False).confidence_interval()
    assert (found.estimate.low, found.estimate.high) == pytest.approx(theirs, abs=1e-5)
    assert found.about == "net 7x7/4: 3 without clipping, 3 clipped at 0.1"
    assert found.details["strongest filter without clipping"] == "6.00 times the median"
    assert found.details["test error with clipping"] == "51.0 %"
    assert clipping_claim([1.5, 2.0, 1.7], [4.0, 8.0, 6.0]).verdict == "refutes"
    assert clipping_claim([4.0, 8.0], [1.5, 2.0, 1.7]).verdict == "can't tell"
    assert clipping_claim([2.0, 2.001, 2.002], [2.0, 2.001, 2.0015]).verdict == "no effect"
    assert clipping_claim([2.0, 3.0, 2.5], [2.2, 2.9, 2.5]).verdict == "can't tell"


def test_runs_of_one_kind_decide_no_claim():
    assert diagnosis_claims([group(clipped(0, 4.0, None)), group(clipped(0, 4.0, None))]) == []
    assert diagnosis_claims([]) == []


# ---- untrained networks -----------------------------------------------------------------------------------------


@pytest.mark.slow  # 8 networks, 35 splits: about 20 s
@pytest.mark.parametrize("build", [alexnet, zfnet], ids=["alexnet", "zfnet"])
def test_untrained_networks_of_one_architecture_are_told_apart_in_at_most_seven_of_a_hundred_splits(build):
    pixels = 50 * noise(24, 72, np.random.default_rng(0), channels=3)
    networks = []
    for seed in range(8):
        torch.manual_seed(seed)
        net = build(5, input_size=64, width=0.1, init="he").eval()
        found = diagnose(net, pixels[..., 4:68, 4:68], larger=list(pixels[:8]), names=("conv1", "conv2"))
        networks.append(DiagnosedNetwork(str(seed), found, "net", seed=seed))
    decided, splits = Counter(), list(itertools.combinations(range(1, 8), 3))
    assert len(splits) == 35
    for half in splits:
        sides = [[networks[n] for n in range(8) if (n == 0 or n in half) is first] for first in (True, False)]
        for claim in stride_claims(*(group(*members) for members in sides)):
            decided[claim.number] += claim.verdict in ("supports", "refutes", "architecture")
    assert max(decided.values()) <= 0.07 * len(splits), decided


def test_permutation_test_is_scipys():
    values, errors = [3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0], [0.3, 0.2, 0.1, 0.1, 0.7, 0.9, 0.6]
    found, p = permutation_test(values, errors)
    expected = stats.spearmanr(values, errors)
    assert found == pytest.approx(expected.statistic)
    assert p == pytest.approx(expected.pvalue, abs=0.05)
    assert permutation_test([1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1])[0] == pytest.approx(-1)
    assert np.isnan(permutation_test([1, 1, 1], [1, 2, 3])[0])
    assert np.isnan(permutation_test([1, 2], [1, 2])[0])
