import time
from math import comb

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from convlens.errors import InputError
from convlens.stats.paired import PairedDifference, paired_difference


def wrong(both: int, first: int, second: int, neither: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Which images each network gets wrong, from the four counts."""
    a = [True] * both + [True] * first + [False] * second + [False] * neither
    b = [True] * both + [False] * first + [True] * second + [False] * neither
    return torch.tensor(a), torch.tensor(b)


def literal_mcnemar(first: int, second: int) -> float:
    """Sum of the probabilities of all splits of the disagreements that are no likelier than the one seen."""
    total = first + second
    chances = [comb(total, i) / 2**total for i in range(total + 1)]
    return sum(chance for chance in chances if chance <= chances[first] * (1 + 1e-9))


def literal_bootstrap(a: torch.Tensor, b: torch.Tensor, resamples: int) -> list[float]:
    generator = torch.Generator().manual_seed(1)
    gaps = []
    for _ in range(resamples):
        rows = torch.randint(len(a), (len(a),), generator=generator)
        gaps.append(100 * float(a[rows].double().mean() - b[rows].double().mean()))
    gaps = sorted(gaps)
    return [gaps[int(0.025 * resamples)], gaps[int(0.975 * resamples)]]


def test_a_comparison_by_hand():
    # 10 images; the first alone is wrong on 4, the second alone on 1: 7 - 4 = 3 more wrong of 10.
    # McNemar: 5 disagreements, at most 1 on the rarer side: 2 * (1 + 5) / 32.
    found = paired_difference(*wrong(3, 4, 1, 2))
    assert found.difference == pytest.approx(30)
    assert found.p == pytest.approx(0.375)
    assert found.low < 30 < found.high
    assert not found.decided


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30), st.integers(1, 30))
def test_difference_and_p_are_the_literal_ones_and_change_sides_with_the_networks(both, first, second, neither):
    a, b = wrong(both, first, second, neither)
    found, mirrored = paired_difference(a, b, resamples=50), paired_difference(b, a, resamples=50)
    assert found.difference == pytest.approx(100 * float(a.double().mean() - b.double().mean()))
    assert found.p == pytest.approx(literal_mcnemar(first, second))
    assert mirrored.difference == pytest.approx(-found.difference)
    assert mirrored.p == pytest.approx(found.p)
    assert found.low <= found.high


@pytest.mark.parametrize("counts", [(30, 40, 12, 118), (0, 5, 5, 190), (50, 60, 20, 70)])
def test_the_interval_is_that_of_drawing_images_with_replacement(counts):
    a, b = wrong(*counts)
    found = paired_difference(a, b, resamples=20_000)
    # Both ends are quantiles of a simulation, and come in steps of half a point.
    assert [found.low, found.high] == pytest.approx(literal_bootstrap(a, b, 4000), abs=0.75)


def test_the_interval_holds_the_truth_nineteen_times_in_twenty():
    generator = torch.Generator().manual_seed(0)
    held = 0
    for seed in range(400):
        # Wrong independently with probability 0.4 and 0.3: 10 points apart.
        a, b = (torch.rand(200, generator=generator) < p for p in (0.4, 0.3))
        found = paired_difference(a, b, resamples=400, seed=seed)
        held += found.low <= 10 <= found.high
    assert 0.92 <= held / 400 <= 0.98


def test_the_interval_depends_on_the_seed_alone_not_on_the_global_random_numbers():
    a, b = wrong(30, 40, 12, 118)
    first = paired_difference(a, b)
    torch.manual_seed(123)
    assert paired_difference(a, b) == first
    assert paired_difference(a, b, seed=1) != first


def test_networks_that_agree_differ_by_nothing():
    assert paired_difference(*wrong(4, 0, 0, 6)) == PairedDifference(0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("low", "high", "p", "decided"),
    [
        (0.1, 2, 0.049, True),
        (-2, -0.1, 0.049, True),
        (0.1, 2, 0.05, False),
        (-1, 1, 0.01, False),
        (0.0, 1, 0.01, False),
        (-1, 0.0, 0.01, False),
    ],
)
def test_a_difference_is_decided_where_interval_and_split_both_say_so(low, high, p, decided):
    assert PairedDifference(1.0, low, high, p).decided is decided


@pytest.mark.parametrize(("first", "second"), [(3, 4), (0, 0)])
def test_predictions_that_are_not_of_the_same_images_are_refused(first, second):
    with pytest.raises(InputError, match=f"{first} and {second} predictions"):
        paired_difference(torch.zeros(first, dtype=torch.bool), torch.zeros(second, dtype=torch.bool))


def test_as_many_images_as_imagenet_has_are_no_matter():
    a, b = wrong(10_000, 4_000, 3_500, 32_500)
    started = time.monotonic()
    found = paired_difference(a, b)
    assert time.monotonic() - started < 1
    # Standard error of the mean of 4000 ones and 3500 minus ones among 50,000: 0.173 points.
    assert (found.low, found.high) == pytest.approx((1 - 1.96 * 0.173, 1 + 1.96 * 0.173), abs=0.03)
    assert found.decided


def test_the_p_value_keeps_its_digits_for_many_images():
    assert paired_difference(*wrong(0, 1000, 20, 0)).p < 1e-200
    assert paired_difference(*wrong(0, 50, 48, 0)).p == pytest.approx(literal_mcnemar(50, 48))
