import numpy as np
import pytest
from scipy import stats

from convlens.errors import InputError
from convlens.stats.rank_correlation import rank_correlation, rank_correlation_of


def test_it_is_spearmans_with_ties():
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 4, 40).astype(float), rng.integers(0, 9, 40).astype(float)
    assert rank_correlation(first, second) == pytest.approx(stats.spearmanr(first, second).statistic)


def test_it_is_zero_where_nothing_varies():
    assert rank_correlation(np.zeros(5), np.arange(5.0)) == 0.0
    assert rank_correlation(np.arange(5.0), np.ones(5)) == 0.0


def test_its_interval_surrounds_it_and_depends_on_order_alone():
    rng = np.random.default_rng(1)
    first = rng.normal(size=60)
    second = first + rng.normal(size=60)
    found = rank_correlation_of(first, second)
    assert found.low < found.value < found.high
    assert found.against(0) == "above"
    assert found.count == 60
    assert rank_correlation_of(np.exp(first), second**3) == found
    assert rank_correlation_of(first, -second).value == pytest.approx(-found.value)


def test_the_interval_is_as_wide_as_the_correlation_of_other_samples_varies():
    rng = np.random.default_rng(2)

    def sample() -> tuple[np.ndarray, np.ndarray]:
        first = rng.normal(size=50)
        return first, 0.6 * first + rng.normal(size=50)

    spread = np.std([rank_correlation(*sample()) for _ in range(500)])
    found = np.mean([rank_correlation_of(*sample()).error for _ in range(10)])
    assert found == pytest.approx(spread, rel=0.25)


def test_no_units_are_refused():
    with pytest.raises(InputError, match="no units"):
        rank_correlation_of(np.zeros(0), np.zeros(0))
