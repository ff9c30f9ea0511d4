import numpy as np
import pytest
from scipy import stats

from convlens.analysis.claims import Estimate, bootstrap, mean_of, verdict
from convlens.errors import InputError


def test_an_interval_is_scipys():
    values = np.random.default_rng(3).normal(2, 1, 60)
    ours = mean_of(values)
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=4000).confidence_interval
    assert ours.value == pytest.approx(values.mean())
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.05)


def test_an_interval_depends_on_nothing_but_the_values():
    values = np.arange(9.0)
    assert mean_of(values) == mean_of(values)


@pytest.mark.parametrize(
    ("low", "high", "expected"), [(0.6, 0.9, "above"), (0.1, 0.4, "below"), (0.4, 0.6, "open"), (0.5, 0.6, "open")]
)
def test_an_estimate_is_above_below_or_open(low, high, expected):
    assert Estimate(0.5, low, high).against(0.5) == expected


def test_an_estimate_that_is_no_number_is_open():
    assert Estimate(float("nan"), float("nan"), float("nan")).against(0) == "open"


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        (("above", "above"), "holds"),
        (("above", "open"), "can't tell"),
        (("above", "below"), "fails"),
        (("open", "below"), "fails"),
    ],
)
def test_a_claim_holds_only_where_all_of_it_does(outcomes, expected):
    assert verdict(*outcomes) == expected


def test_a_statistic_of_nothing_is_refused():
    with pytest.raises(InputError, match="nothing to take a statistic of"):
        bootstrap(0, lambda rows: 0.0)
