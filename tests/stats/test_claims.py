import numpy as np
import pytest
from scipy import stats

from convlens.errors import InputError
from convlens.stats.claims import Claim, Estimate, bootstrap, mean_of, verdict


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
        (("above", "above"), "supports"),
        (("above", "open"), "can't tell"),
        (("above", "below"), "refutes"),
        (("open", "below"), "refutes"),
    ],
)
def test_a_claim_is_supported_only_where_all_of_it_is(outcomes, expected):
    assert verdict(*outcomes) == expected


def test_a_statistic_of_nothing_is_refused():
    with pytest.raises(InputError, match="no units to compute a statistic of"):
        bootstrap(0, lambda rows: 0.0)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_too_few_units_decide_nothing_however_clear_they_are(count):
    assert mean_of(np.full(count, 3.0)).against(0) == "open"
    assert mean_of(np.full(6, 3.0)).against(0) == "above"
    assert mean_of(np.full(6, -3.0)).against(0) == "below"


def test_resamples_that_leave_a_statistic_undefined_do_not_count():
    found = bootstrap(8, lambda rows: float("nan") if len(set(rows.tolist())) < 5 else 1.0)
    assert (found.low, found.high) == (1.0, 1.0)
    nothing = bootstrap(8, lambda rows: float("nan"))
    assert nothing.against(0) == "open"


def test_a_claim_says_what_would_have_refuted_it():
    claim = Claim(5, "conv3", "AUC against 0.5", Estimate(0.9, 0.8, 1.0, 16), "supports", controls={"random": "0.6"})
    assert repr(claim) == "Claim(5, conv3: supports, 0.900 (0.800 to 1.000))"
    assert claim.as_json() == {
        "number": 5,
        "claim": "the nine projections of a map are of one kind",
        "place": "section 4, Fig 2",
        "about": "conv3",
        "statistic": "AUC against 0.5",
        "estimate": "0.900 (0.800 to 1.000)",
        "units": 16,
        "paper": "",
        "verdict": "supports",
        "refuted_if": "two projections of one map are no more alike than two of different maps",
        "controls": {"random": "0.6"},
    }
