import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from convlens.analysis.ablation_claims import Rows, claims
from convlens.analysis.contrast import contrast
from convlens.errors import InputError


def drawn(error: float, seeds: int = 3, images: int = 400, seed: int = 0) -> np.ndarray:
    """Images that are wrong with this probability, those of smaller errors among those of greater ones."""
    return np.random.default_rng(seed).random((seeds, images)) < error


def test_a_contrast_is_the_weighted_sum_of_the_errors():
    wrong = {"a": np.array([[1, 1, 0, 0], [1, 0, 0, 0]], bool), "b": np.array([[1, 0, 0, 0], [0, 0, 0, 1]], bool)}
    found = contrast({"a": 1, "b": -1}, wrong)
    assert found.value == pytest.approx(12.5)  # (50 + 25) / 2 - (25 + 25) / 2
    assert found.count == 4
    assert contrast({"a": 2, "b": -0.5}, wrong).value == pytest.approx(62.5)  # 75 - 12.5


def test_the_interval_of_one_seed_is_that_of_the_mean_over_images():
    wrong = {"a": drawn(0.3, seeds=1), "b": drawn(0.2, seeds=1)}
    found = contrast({"a": 1, "b": -1}, wrong, resamples=4000)
    values = 100.0 * (wrong["a"].astype(float) - wrong["b"])[0]
    half = 1.96 * values.std(ddof=1) / np.sqrt(400)
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.4)


def test_the_interval_of_several_seeds_covers_their_spread():
    """Seeds that differ by far more than images: the spread is that of the mean of so many seeds."""
    per_seed = np.array([0.2, 0.3, 0.4, 0.5, 0.6])
    wrong = {"a": np.stack([np.arange(1000) < 1000 * p for p in per_seed])}
    found = contrast({"a": 1}, wrong, resamples=4000)
    half = 1.96 * 100 * per_seed.std(ddof=1) / np.sqrt(5)
    images = 1.96 * 100 * np.sqrt(0.24 / 1000)
    assert found.high - found.low == pytest.approx(2 * np.hypot(half, images), rel=0.1)


@given(st.integers(1, 4), st.integers(1, 30), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_the_interval_holds_the_value_and_a_network_is_no_better_than_itself(seeds, images, seed):
    wrong = {"a": drawn(0.4, seeds, images, seed), "b": drawn(0.4, seeds, images, seed)}
    found = contrast({"a": 1}, wrong, resamples=200)
    assert found.low - 1e-9 <= found.value <= found.high + 1e-9
    same = contrast({"a": 1, "b": -1}, wrong, resamples=50)
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_networks_with_other_seeds_or_images_are_not_compared():
    with pytest.raises(InputError, match="must be the same"):
        contrast({"a": 1, "b": -1}, {"a": drawn(0.1, 2), "b": drawn(0.1, 3)})


# ---- claims 20 to 23 ---------------------------------------------------------------------------------------------

PAPER = {
    "none": 0.405, "no_layers_3_4": 0.454, "no_layer_7": 0.40, "no_layers_6_7": 0.448, "no_layers_3_4_6_7": 0.713,
    "fc_2048": 0.417, "fc_8192": 0.40, "wide": 0.36, "wide_fc_8192": 0.383,
}  # fmt: skip
SEEN = {"wide": 0.188, "wide_fc_8192": 0.10}


def rows(test: dict[str, float], seen: dict[str, float] = SEEN, share: float = 0.96) -> Rows:
    errors = {
        name: {key: drawn(p, images=2000) for key, p in kind.items()} for name, kind in (("t", test), ("s", seen))
    }
    return Rows("alexnet", errors["t"], errors["s"], share)


def verdicts(test: dict[str, float], **others) -> dict[int, str]:
    return {claim.number: claim.verdict for claim in claims({"alexnet": rows(test, **others)}, "")}


def test_errors_as_in_the_paper_support_its_claims():
    networks = {"alexnet": rows(PAPER), "zfnet": rows({"none": 0.35})}
    assert {c.number: c.verdict for c in claims(networks, "")} == dict.fromkeys((20, 21, 22, 23), "supports")


@pytest.mark.parametrize(
    ("number", "change"),
    [
        (21, {"no_layers_3_4_6_7": 0.45}),  # less than the sum of the two
        (21, {"no_layers_3_4": 0.1, "no_layers_6_7": 0.1, "no_layers_3_4_6_7": 0.3}),  # more than the sum, but no cost
        (22, {"no_layers_6_7": 0.6}),
        (22, {"fc_8192": 0.25}),
        (23, {"wide": 0.5}),
    ],
)
def test_other_errors_refute_them(number, change):
    assert verdicts(PAPER | change)[number] == "refutes"


def test_few_parameters_in_dense_layers_refute_claim_22_and_a_gap_that_shrinks_claim_23():
    assert verdicts(PAPER, share=0.3)[22] == "refutes"
    assert verdicts(PAPER, seen={"wide": 0.1, "wide_fc_8192": 0.25})[23] == "refutes"


def test_equal_networks_decide_nothing_and_missing_rows_are_passed_over():
    same = {"alexnet": rows({"none": 0.4}), "zfnet": rows({"none": 0.4})}
    assert {c.number: c.verdict for c in claims(same, "")} == {20: "can't tell"}


def test_mcnemar_agrees_with_the_contrast_of_one_seed():
    a, b = drawn(0.30, 1, 1000), drawn(0.27, 1, 1000)
    found = contrast({"a": 1, "b": -1}, {"a": a, "b": b})
    p = stats.binomtest(int((a & ~b).sum()), int((a ^ b).sum())).pvalue
    assert (found.low > 0) == (p < 0.05)
