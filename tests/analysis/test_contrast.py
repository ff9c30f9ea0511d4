import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from convlens.analysis.ablation_claims import Rows, claims
from convlens.analysis.contrast import contrast, quantile
from convlens.errors import InputError


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
    assert found.count == 4
    assert contrast({"a": 2, "b": -0.5}, wrong).value == pytest.approx(62.5)  # 75 - 12.5


def test_the_interval_of_one_seed_is_that_of_the_mean_over_images_and_decides_nothing():
    wrong = {"a": drawn(0.4, seeds=1), "b": drawn(0.1, seeds=1, seed=1)}
    found = contrast({"a": 1, "b": -1}, wrong)
    values = 100.0 * (wrong["a"][0].astype(float) - wrong["b"][0])
    low, high = stats.t.interval(0.95, 399, values.mean(), values.std(ddof=1) / np.sqrt(400))
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.02)
    assert low > 0
    assert found.against(0) == "open"


def test_the_interval_of_seeds_that_differ_is_students():
    """Every image is wrong as often as any other with each seed: only the seeds vary the mean."""
    per_seed = np.array([0.2, 0.3, 0.4, 0.6])
    images = 100_000
    wrong = {"a": {s: np.arange(images) < images * p for s, p in enumerate(per_seed)}}
    found = contrast({"a": 1}, wrong)
    low, high = stats.t.interval(0.95, 3, 100 * per_seed.mean(), 100 * per_seed.std(ddof=1) / 2)
    assert (found.low, found.high) == pytest.approx((low, high), rel=0.01)


@pytest.mark.parametrize(("seeds", "spread"), [(2, 0.04), (3, 0.02), (5, 0.0)])
def test_ninety_five_intervals_of_a_hundred_hold_the_truth(seeds, spread):
    rng = np.random.default_rng(seeds)
    hit = 0
    for _ in range(400):
        shift = rng.normal(0, spread, seeds)
        easy = rng.random(300)  # some images are harder than others, for both networks
        wrong = {"a": {s: easy * 0.4 + rng.random(300) * 0.6 < 0.4 + shift[s] for s in range(seeds)},
                 "b": {s: easy * 0.4 + rng.random(300) * 0.6 < 0.4 for s in range(seeds)}}  # fmt: skip
        found = contrast({"a": 1, "b": -1}, wrong)
        hit += found.low <= 0 <= found.high
    assert hit / 400 > 0.925


@pytest.mark.parametrize("freedom", [1, 2, 7, 13, 44, 1000])
def test_quantiles_are_students(freedom):
    assert quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=0.002)


@given(st.integers(1, 4), st.integers(1, 30), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_the_interval_holds_the_value_and_a_network_is_no_better_than_itself(seeds, images, seed):
    wrong = {"a": drawn(0.4, seeds, images, seed), "b": drawn(0.4, seeds, images, seed)}
    found = contrast({"a": 1}, wrong)
    assert found.low - 1e-9 <= found.value <= found.high + 1e-9
    same = contrast({"a": 1, "b": -1}, wrong)
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_networks_are_paired_by_the_seeds_that_they_share():
    wrong = {"a": drawn(0.1, 3), "b": {2: drawn(0.3, 3, seed=1)[2], 7: drawn(0.5, 1)[0]}}
    alone = {name: {2: values[2]} for name, values in wrong.items()}
    assert contrast({"a": 1, "b": -1}, wrong) == contrast({"a": 1, "b": -1}, alone)
    with pytest.raises(InputError, match=r"a, b share the seeds \[\] and have \[\] images: nothing to pair"):
        contrast({"a": 1, "b": -1}, {"a": drawn(0.1, 1), "b": {3: drawn(0.1, 1)[0]}})
    with pytest.raises(InputError, match=r"have \[100, 400\] images"):
        contrast({"a": 1, "b": -1}, {"a": drawn(0.1), "b": dict(drawn(0.1, images=100))})


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


def test_rows_without_a_seed_in_common_decide_nothing_and_leave_the_other_claims():
    some = rows(PAPER)
    test = some.test | {"wide": {9: some.test["wide"][0]}}
    found = claims({"alexnet": Rows("alexnet", test, some.seen, 0.96)}, "")
    assert {claim.number for claim in found} == {21, 22}


def test_equal_networks_decide_nothing_and_missing_rows_are_passed_over():
    same = {"alexnet": rows({"none": 0.4}), "zfnet": rows({"none": 0.4})}
    assert {c.number: c.verdict for c in claims(same, "")} == {20: "can't tell"}


def test_mcnemar_agrees_with_the_contrast_of_one_seed():
    a, b = drawn(0.30, 1, 1000), drawn(0.27, 1, 1000)
    found = contrast({"a": 1, "b": -1}, {"a": a, "b": b})
    p = stats.binomtest(int((a[0] & ~b[0]).sum()), int((a[0] ^ b[0]).sum())).pvalue
    assert (found.low > 0) == (p < 0.05)
