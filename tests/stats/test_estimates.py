import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from convlens.errors import InputError
from convlens.stats import estimates
from convlens.stats.estimates import (
    NOTHING,
    Estimate,
    difference,
    difference_of_runs,
    mean_of,
    mean_of_runs,
    statistic_of,
)

DRAWS = {
    "normal": lambda rng, size: rng.normal(size=size),
    "exponential": lambda rng, size: rng.exponential(size=size) - 1,
}


def literal_bootstrap_t(values: np.ndarray, resamples: int) -> tuple[float, float]:
    """Bootstrap-t as Efron and Tibshirani write it, one resample after the other."""
    rng, n = np.random.default_rng(7), len(values)
    error = values.std(ddof=1) / np.sqrt(n)
    pivots = []
    for _ in range(resamples):
        drawn = np.array([values[rng.integers(n)] for _ in range(n)])
        pivots.append((drawn.mean() - values.mean()) / (drawn.std(ddof=1) / np.sqrt(n)))
    high, low = np.quantile(pivots, [0.025, 0.975])
    return values.mean() - low * error, values.mean() - high * error


def test_the_interval_of_a_mean_is_the_literal_bootstrap_t():
    values = np.random.default_rng(3).exponential(2, 12)
    found = mean_of(values)
    low, high = literal_bootstrap_t(values, 6000)
    by_t = stats.t.interval(0.95, 11, values.mean(), stats.sem(values))
    assert low > by_t[0]  # few large values: Student's t is the farther end below, the bootstrap above
    assert high > by_t[1]
    low = by_t[0]
    width = high - low
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.08 * width)


def test_the_interval_of_many_normal_units_is_students():
    values = np.random.default_rng(5).normal(2, 1, 400)
    low, high = stats.t.interval(0.95, 399, values.mean(), stats.sem(values))
    found = mean_of(values)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.02)
    assert found.error == pytest.approx(stats.sem(values))
    assert found.deviation == pytest.approx(values.std(ddof=1))
    other = np.random.default_rng(6).normal(1, 3, 300)
    gap = difference(values, other)
    welch = stats.ttest_ind(values, other, equal_var=False).confidence_interval(0.95)
    assert (gap.low, gap.high) == pytest.approx((welch.low, welch.high), abs=0.05)


def test_intervals_of_runs_are_scipys():
    first, second = np.array([3.0, 4.5, 5.0]), np.array([1.0, 1.5, 0.2, 0.9])
    found = difference_of_runs(first, second)
    theirs = stats.ttest_ind(first, second, equal_var=False)
    interval = theirs.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.p_value(0) == pytest.approx(theirs.pvalue)
    assert found.count == 3
    one = mean_of_runs(first)
    assert (one.low, one.high) == pytest.approx(stats.t.interval(0.95, 2, first.mean(), stats.sem(first)))


def test_numbers_by_hand():
    found = mean_of_runs(np.array([1.0, 2.0, 3.0]))  # mean 2, standard deviation 1, error 1 / sqrt(3)
    assert found.error == pytest.approx(3**-0.5)
    assert found.high - found.value == pytest.approx(4.302653 * 3**-0.5, rel=1e-5)  # t of two degrees of freedom
    assert found.effect_size(0.5) == pytest.approx(1.5)
    # (t(0.975) + t(0.8)) of two degrees of freedom: 4.302653 + 1.060660
    assert found.detectable == pytest.approx((4.302653 + 1.060660) * 3**-0.5, rel=1e-5)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-100, 100), min_size=6, max_size=30), st.floats(-50, 50))
def test_the_p_value_agrees_with_the_interval(values, level):
    found = mean_of(np.array(values))
    p = found.p_value(level)
    assert 0 <= p <= 1
    if found.error > 1e-6 and found.against(level) != "open":
        assert p <= 0.05 + 2e-3
    elif found.error > 1e-6:
        assert p >= 0.05 - 2e-3


def test_a_level_at_the_end_of_an_interval_is_within_it():
    end = 0.1 + 0.2 - 0.3  # 0 but for rounding
    assert end > 0
    assert Estimate(0.3, end, 0.6).against(0.0) == "open"
    assert Estimate(-0.3, -0.6, -end).against(0.0) == "open"
    pivots = np.array([-2.0, 0.0, 1.0])
    found = Estimate(0.3, 0.0, 0.6, 6, 0.1, 0.1, 5, pivots * (1 + 1e-15))
    assert found.p_value(0.2) == 1  # one of three resamples is above, and one at it


@pytest.mark.parametrize("gap", [0, 1e-9, 1e-3])
def test_nearly_equal_units_give_no_interval_of_any_width(gap):
    values = np.array([0.0, gap, 2 * gap, 3 * gap, 1.0, 1.1])
    found = mean_of(values)
    # a resample's mean is at most 0.75 away from that of the sample, in a tenth of the sample's error at least
    assert found.high - found.low <= 2 * 10 * 0.75 + 1e-6
    assert found.low < values.mean() < found.high


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=20), st.floats(0.01, 100), st.floats(-100, 100))
def test_an_interval_moves_with_its_values(values, factor, shift):
    values = np.array(values)
    if values.std() < 1e-6:
        return
    one, other = mean_of(values), mean_of(factor * values + shift)
    finite = [(a, b) for a, b in ((one.low, other.low), (one.high, other.high)) if np.isfinite(a)]
    for a, b in finite:
        assert b == pytest.approx(factor * a + shift, rel=1e-6, abs=1e-6 * factor * 1e3)


def test_few_and_no_units():
    assert mean_of(np.zeros(0)) is NOTHING
    assert mean_of(np.array([np.nan, np.nan])) is NOTHING
    one = mean_of(np.array([3.0]))
    assert (one.value, one.low, one.high) == (3.0, -np.inf, np.inf)
    assert NOTHING.against(0) == one.against(0) == "open"
    assert np.isnan(NOTHING.p_value(0))
    assert mean_of(np.array([1.0, np.nan, 3.0])).count == 2
    with pytest.raises(InputError, match="no units to compute a statistic of"):
        statistic_of(0, lambda rows: 0.0)


def test_equal_units_have_the_p_value_of_a_sign_test():
    found = mean_of(np.full(6, 0.1))
    assert (found.low, found.high, found.error) == (found.value, found.value, 0.0)
    assert found.p_value(0) == 2 / 64
    assert found.p_value(found.value) == 1
    assert mean_of(np.full(5, 3.0)).p_value(0) > 0.05


def test_five_of_six_hits_decide_nothing():
    """A third of the resamples holds hits alone and has no error of its own."""
    assert mean_of(np.array([1.0, 1, 1, 1, 1, 0])).against(0.5) == "open"


def test_any_statistic_of_a_mean_is_that_of_its_units():
    values = np.random.default_rng(1).normal(size=15)
    found, expected = statistic_of(15, lambda rows: values[rows].mean()), mean_of(values)
    assert (found.value, found.low, found.high) == pytest.approx((expected.value, expected.low, expected.high))
    assert found.error == pytest.approx(expected.error)


def test_a_ratio_has_the_interval_of_the_delta_method():
    rng = np.random.default_rng(2)
    top, bottom = rng.normal(3, 0.3, 400), rng.normal(2, 0.2, 400)
    found = statistic_of(400, lambda rows: top[rows].mean() / bottom[rows].mean())
    ratio = top.mean() / bottom.mean()
    error = np.std((top - ratio * bottom) / bottom.mean(), ddof=1) / 20
    assert found.value == pytest.approx(ratio)
    assert found.error == pytest.approx(error, rel=0.02)
    assert (found.low, found.high) == pytest.approx((ratio - 1.966 * error, ratio + 1.966 * error), rel=0.01)


def share_decided(draw, count: int, trials: int, two: bool, seed: int) -> float:
    """Share of null data for which the interval excludes zero."""
    rng = np.random.default_rng(seed)
    found = (
        difference(draw(rng, count), draw(rng, count) if two else None, seed=trial).against(0)
        for trial in range(trials)
    )
    return sum(outcome != "open" for outcome in found) / trials


@pytest.mark.parametrize("two", [False, True])
@pytest.mark.parametrize("name", DRAWS)
def test_null_data_are_rarely_decided(name, two, monkeypatch):
    monkeypatch.setattr(estimates, "RESAMPLES", 399)
    # 5 to 6.5 % of 400 trials, give or take 1.2 %: a percentile bootstrap has 15 to 25 %.
    assert share_decided(DRAWS[name], 6, 400, two, 0) <= 0.085


@pytest.mark.slow
@pytest.mark.parametrize("two", [False, True])
@pytest.mark.parametrize("count", [6, 10, 20, 50])
@pytest.mark.parametrize("name", DRAWS)
def test_null_data_are_decided_in_at_most_seven_percent(name, count, two):
    assert share_decided(DRAWS[name], count, 4000, two, count) <= 0.07


def test_runs_without_a_difference_are_decided_in_five_percent():
    rng = np.random.default_rng(0)
    found = [difference_of_runs(rng.normal(size=3), rng.normal(size=3)).against(0) for _ in range(4000)]
    assert sum(outcome != "open" for outcome in found) / 4000 <= 0.06  # Welch's is conservative for so few


def test_an_estimate_reads_well():
    assert str(Estimate(0.12345, -0.1, 0.3)) == "0.123 (-0.100 to 0.300)"
    assert "pivots" not in repr(mean_of(np.arange(6.0)))
