import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from convlens.errors import InputError
from convlens.stats.claims import claim
from convlens.stats.seed_contrast import contrast, seed_variance


def drawn(error: float, seeds: int = 3, images: int = 400, seed: int = 0) -> dict[int, np.ndarray]:
    """Images that are wrong with this probability, those of smaller errors among those of greater ones."""
    return dict(enumerate(np.random.default_rng(seed).random((seeds, images)) < error))


def test_a_contrast_is_the_weighted_sum_of_the_errors():
    wrong = {
        "a": dict(enumerate(np.array([[1, 1, 0, 0], [1, 0, 0, 0]], bool))),
        "b": dict(enumerate(np.array([[1, 0, 0, 0], [0, 0, 0, 1]], bool))),
    }
    found = contrast({"a": 1, "b": -1}, wrong)
    assert found.value == pytest.approx(12.5)  # (50 + 25) / 2 - (25 + 25) / 2
    assert found.count == 2  # seeds
    assert found.value - found.low == pytest.approx(found.high - found.value)
    assert contrast({"a": 2, "b": -0.5}, wrong).value == pytest.approx(62.5)  # 75 - 12.5


def test_the_interval_of_one_seed_is_that_of_the_mean_over_images_and_decides_nothing():
    wrong = {"a": drawn(0.4, seeds=1), "b": drawn(0.1, seeds=1, seed=1)}
    found = contrast({"a": 1, "b": -1}, wrong)
    values = 100.0 * (wrong["a"][0].astype(float) - wrong["b"][0])
    low, high = stats.t.interval(0.95, 399, values.mean(), values.std(ddof=1) / np.sqrt(400))
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-6)
    assert low > 0
    assert found.count == 1
    assert claim(20, found).verdict == "can't tell"


def test_the_smallest_number_of_seeds_decides():
    seeds = {"a": drawn(0.4, seeds=4), "b": drawn(0.1, seeds=3, seed=1), "c": drawn(0.1, seeds=2, seed=2)}
    assert contrast({"a": 1, "b": -1}, seeds).count == 3
    assert claim(20, contrast({"a": 1, "b": -1}, seeds)).verdict == "supports"
    assert contrast({"a": 1, "b": 0, "c": -1}, seeds).count == 2
    assert claim(20, contrast({"a": 1, "c": -1}, seeds)).verdict == "can't tell"


def test_the_p_value_is_that_of_the_interval():
    """An interval that ends at 0 has p = 0.05."""
    found = contrast({"a": 1, "b": -1}, {"a": drawn(0.4), "b": drawn(0.3, seed=1)})
    assert found.p_value(found.low) == pytest.approx(0.05)
    assert found.p_value(0) < 0.05 < found.p_value(found.value - 1e-3)


def test_the_interval_of_seeds_that_differ_is_students():
    """Every image is wrong as often as any other with each seed: only the seeds vary the mean."""
    per_seed = np.array([0.2, 0.3, 0.4, 0.6])
    images = 100_000
    wrong = {"a": {s: np.arange(images) < images * p for s, p in enumerate(per_seed)}}
    found = contrast({"a": 1}, wrong)
    low, high = stats.t.interval(0.95, 3, 100 * per_seed.mean(), 100 * per_seed.std(ddof=1) / 2)
    assert (found.low, found.high) == pytest.approx((low, high), rel=0.01)


def test_the_spread_of_seeds_is_taken_of_all_networks_together_by_hand():
    share = {"a": (0.1, 0.3), "b": (0.5, 0.5, 0.8), "c": (0.2,)}
    wrong = {name: {s: np.arange(100) < 100 * p for s, p in enumerate(shares)} for name, shares in share.items()}
    # (10, 30) deviate by 10, 10; (50, 50, 80) by 10, 10, 20: 800 in squares, with 1 + 2 degrees of freedom.
    assert seed_variance(wrong) == (pytest.approx(800 / 3), 3)
    terms = {"a": 1.0, "c": -1.0}
    found = contrast(terms, wrong)
    total = 100 * (np.mean([wrong["a"][0], wrong["a"][1]], 0) - wrong["c"][0])
    squared = (stats.t.ppf(0.975, 99) ** 2 * total.var(ddof=1) / 100
               + stats.t.ppf(0.975, 3) ** 2 * 800 / 3 * (1 / 2 + 1))  # fmt: skip
    assert found.high - found.value == pytest.approx(np.sqrt(squared), rel=1e-3)


@pytest.mark.parametrize(("seeds", "spread"), [(2, 0.04), (2, 0.01), (3, 0.03), (5, 0.0)])
def test_ninety_five_intervals_of_a_hundred_hold_the_truth(seeds, spread):
    """As in a study: nine networks with as many seeds, some images harder than others, seeds that differ."""
    rng = np.random.default_rng(seeds)
    hit = 0
    for _ in range(400):
        easy = 0.4 * rng.random(300)
        wrong = {
            str(k): {s: easy + 0.6 * rng.random(300) < 0.4 + rng.normal(0, spread) for s in range(seeds)}
            for k in range(9)
        }
        found = contrast({"0": 1, "1": -1}, wrong)
        hit += found.low <= 0 <= found.high
    assert hit / 400 > 0.93


@given(st.integers(1, 4), st.integers(1, 30), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_the_interval_holds_the_value_and_a_network_is_no_better_than_itself(seeds, images, seed):
    wrong = {"a": drawn(0.4, seeds, images, seed), "b": drawn(0.4, seeds, images, seed)}
    found = contrast({"a": 1}, wrong)
    assert found.low - 1e-9 <= found.value <= found.high + 1e-9
    same = contrast({"a": 1, "b": -1}, wrong)
    assert same.value == 0
    assert same.low == -same.high


def test_networks_of_other_seeds_are_compared_and_of_other_images_not():
    wrong = {"a": drawn(0.1, 3), "b": {7: drawn(0.5, 1, seed=1)[0]}}
    gap = contrast({"a": 1, "b": -1}, wrong).value
    assert gap == pytest.approx(100 * (np.mean(list(wrong["a"].values())) - wrong["b"][7].mean()))
    with pytest.raises(InputError, match=r"a, b were tested on \[100, 400\] images: give networks tested on the same"):
        contrast({"a": 1, "b": -1}, {"a": drawn(0.1), "b": drawn(0.1, images=100)})


def test_mcnemar_agrees_with_the_contrast_of_one_seed():
    a, b = drawn(0.30, 1, 1000), drawn(0.27, 1, 1000)
    found = contrast({"a": 1, "b": -1}, {"a": a, "b": b})
    p = stats.binomtest(int((a[0] & ~b[0]).sum()), int((a[0] ^ b[0]).sum())).pvalue
    assert (found.low > 0) == (p < 0.05)
