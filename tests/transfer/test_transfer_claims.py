"""Claims 24 to 26: statistics by hand and against scipy; planted truths, planted falsehoods, null data."""

from collections.abc import Callable
from math import sqrt

import numpy as np
import pytest
from scipy.stats import page_trend_test

from convlens.stats.claims import Claim
from convlens.stats.rules import RULES
from convlens.transfer.claims import Goal, depth_claim, heads_claim, pretraining_claim, smallest_size


def layers(means: list[float], count: int = 60, *, noise: float = 4.0, seed: int = 0) -> dict[str, np.ndarray]:
    """Scores of classes around a mean for each layer; a class is easy or hard at all layers."""
    rng = np.random.default_rng(seed)
    base = 10 * rng.normal(size=count)
    return {f"layer{k}": mean + base + noise * rng.normal(size=count) for k, mean in enumerate(means, 1)}


# ---- claim 25 ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("means", "verdict"),
    [
        ([40, 46, 52, 58, 64, 70], "supports"),
        ([40, 50, 60, 55, 50, 45], "refutes"),  # rises first, and its correlation with depth is above 0
        ([20, 60, 60, 60, 60, 60], "can't tell"),  # one step only
        ([70, 64, 58, 52, 46, 40], "refutes"),
        ([60, 60, 60, 60, 60, 60], "can't tell"),
        ([44.8, 66.2, 72.3, 76.6, 86.2, 82.2], "refutes"),  # as Table 7, with a larger last step
    ],
)
def test_depth_is_steady_or_not(means, verdict):
    assert depth_claim(layers(means), "").verdict == verdict


def test_a_flat_step_that_is_known_well_is_no_effect():
    assert depth_claim(layers([20, 60, 60, 60], noise=0.3), "").verdict == "no effect"


def test_the_smallest_step_decides_and_all_are_shown():
    scores = layers([40, 50, 53, 70])
    found = depth_claim(scores, "zoo, svm")
    step = scores["layer3"] - scores["layer2"]
    assert found.about == "zoo, svm: layer3 - layer2"
    assert found.estimate.value == pytest.approx(step.mean())
    assert (found.estimate.count, found.estimate.error) == (60, pytest.approx(step.std(ddof=1) / sqrt(60)))
    assert "layer 7 - layer 5 (86.2 to 85.5" in found.paper
    shown = [name for name in found.details if name.endswith("points")]
    assert shown[:3] == ["layer2 - layer1, points", "layer3 - layer2, points", "layer4 - layer3, points"]
    theirs = page_trend_test(np.stack(list(scores.values()), 1))
    assert found.details["Page's L"] == f"{theirs.statistic:.0f}, p = {theirs.pvalue:.2g}"


def test_the_isotonic_fit_by_hand():
    # Means 10, 30, 20, 40: the middle two are pooled to 25, which is 5 from both.
    exact = {f"layer{k}": mean + np.arange(20.0) for k, mean in enumerate((10, 30, 20, 40))}
    found = depth_claim(exact, "")
    assert found.details["largest distance of a layer from the isotonic fit, points"] == "5.00"
    assert found.verdict == "refutes"  # all 20 classes step down


def test_depth_needs_twenty_classes_whose_score_is_known_at_all_layers():
    scores = layers([40, 50, 60], 21)
    assert depth_claim(scores, "").verdict == "supports"
    scores["layer2"][:2] = np.nan
    assert depth_claim(scores, "").estimate.count == 19
    assert depth_claim(scores, "").verdict == "can't tell"


def test_depth_of_random_weights_is_architecture():
    rising, flat = layers([40, 46, 52]), layers([40, 40, 40], seed=1)
    assert depth_claim(rising, "", rising).verdict == "architecture"
    against = depth_claim(rising, "", flat)
    assert against.verdict == "supports"
    assert against.control is not None
    own = rising["layer3"] - rising["layer2"], rising["layer2"] - rising["layer1"]
    control = flat["layer3"] - flat["layer2"], flat["layer2"] - flat["layer1"]
    gain = min(own, key=np.mean) - min(control, key=np.mean)
    assert against.control.gain.value == pytest.approx(gain.mean())
    assert depth_claim(rising, "", {"layer1": rising["layer1"]}).control is None  # not all layers were fitted


# ---- claim 24 ---------------------------------------------------------------------------------------------------


def test_pretraining_is_compared_at_the_most_images_that_both_have():
    rng = np.random.default_rng(3)
    scratch = 40 + 10 * rng.random(30)
    own = {3: scratch + 5, 30: scratch + 40 + rng.random(30), 60: scratch + 90}
    found = pretraining_claim(own, {30: scratch}, "scratch", "zoo")
    assert found.verdict == "supports"
    assert found.estimate.value == pytest.approx((own[30] - scratch).mean())
    assert found.about == "zoo, 30 images per class, less scratch"
    assert found.details == {
        f"fewest images that beat scratch with 30 images per class ({scratch.mean():.1f} %)": "3 images per class",
        "the same in the paper": "6 images per class (57.0 %) beat Bo et al. 2013 with 60 (55.2 %; Caltech-256)",
        "3 images per class less scratch with 30 images per class, points": "5.000 (5.000 to 5.000)",
    }


@pytest.mark.parametrize(
    ("few", "all_images", "verdict"),
    [
        (5, 40, "supports"),
        (-5, 40, "refutes"),  # better with as many images, but not with few
        (5, 6, "refutes"),  # better, but not by far
        (None, 40, "supports"),  # few images were not tried
        (None, 10, "can't tell"),
        (None, 0, "no effect"),
        (None, -3, "refutes"),
    ],
)
def test_pretraining_by_far_and_with_few_images(few, all_images, verdict):
    rng = np.random.default_rng(0)
    scratch = 40 + 5 * rng.normal(size=40)
    own = {60: scratch + all_images + 3 * rng.normal(size=40)}
    if few is not None:
        own |= {6: scratch + few + 3 * rng.normal(size=40), 12: scratch - 20}  # 12 of 60 are not few
    assert pretraining_claim(own, {60: scratch}, "scratch", "").verdict == verdict


def test_the_smallest_number_of_images_that_passes_a_fixed_score():
    sizes = (1, 2, 3, 4, 5, 6, 7, 10, 15, 30, 45, 60)
    curve = (27.2, 39.2, 46.1, 51.8, 54.9, 57.0, 58.9, 62.6, 65.7, 70.6, 72.7, 74.2)  # Fig 9
    paper = {size: np.full(256, score) for size, score in zip(sizes, curve, strict=True)}
    assert smallest_size(paper, 55.2) == 6
    assert smallest_size(paper, 80) == 0
    assert smallest_size({5: np.array([1.0, np.nan]), None: np.array([9.0, 9.0])}, 5) is None
    scratch = {15: np.full(256, 9.0), 60: np.full(256, 38.8)}
    found = pretraining_claim(paper, scratch, "scratch", "", Goal("Bo et al.", 55.2))
    assert found.details["fewest images that beat Bo et al. (55.2 %)"] == "6 images per class"
    own = pretraining_claim(paper, scratch, "scratch", "")
    assert own.details["fewest images that beat scratch with 60 images per class (38.8 %)"] == "2 images per class"
    never = pretraining_claim({None: np.full(20, 30.0)}, {None: np.full(20, 40.0)}, "scratch", "")
    assert never.details["fewest images that beat scratch with all training images (40.0 %)"] == "none"


# ---- claim 26 ---------------------------------------------------------------------------------------------------


def test_heads_are_compared_over_classes_with_positives():
    rng = np.random.default_rng(4)
    softmax, crowd = 60 + 10 * rng.random(20), 1 + rng.random(20)
    sigmoid = softmax + 2 + rng.random(20)
    sigmoid[3] = np.nan
    found = heads_claim(sigmoid, softmax, crowd, "", np.full(20, 20))
    assert found.verdict == "supports"
    assert found.estimate.count == 19
    assert found.estimate.value == pytest.approx(np.nanmean(sigmoid - softmax))
    known = np.delete(np.arange(20), 3)
    expected = f"{np.corrcoef(crowd[known], softmax[known])[0, 1]:.3f} ("
    assert found.details["correlation of a class's AP with labels per image"].startswith(expected)
    assert heads_claim(softmax, sigmoid, crowd, "", np.full(20, 20)).verdict == "refutes"
    assert heads_claim(sigmoid[:11], softmax[:11], crowd[:11], "", np.full(11, 20)).verdict == "can't tell"
    assert heads_claim(sigmoid, softmax, crowd, "", np.full(20, 19)).verdict == "can't tell"
    same = heads_claim(softmax + 0.1 * rng.random(20), softmax, crowd, "", np.full(20, 20))
    assert same.verdict == "no effect"


# ---- null data --------------------------------------------------------------------------------------------------

Draw = Callable[..., np.ndarray]


def steps_of_no_mean(draw: Draw, count: int) -> Claim:
    """Neighbouring layers differ by noise of the given kind: the hardest null data for six layers."""
    table = np.cumsum(draw(count, 6), 1)
    return depth_claim({f"layer{k}": table[:, k] for k in range(6)}, "")


def layers_of_one_mean(draw: Draw, count: int) -> Claim:
    """The layers of a class differ by noise of the given kind."""
    table = 2 * draw(count, 1) + draw(count, 6)
    return depth_claim({f"layer{k}": table[:, k] for k in range(6)}, "")


def far_by_ten_points(draw: Draw, count: int) -> Claim:
    """At the claim's level, with few images and with all."""
    scratch = np.full(count, 40.0)
    own = {3: 40 + draw(count), 30: 50 + draw(count)}
    return pretraining_claim(own, {30: scratch}, "scratch", "")


def equal_heads(draw: Draw, count: int) -> Claim:
    """Heads that differ by noise."""
    softmax = np.full(count, 60.0)
    return heads_claim(softmax + draw(count), softmax, np.ones(count), "", np.full(count, 20))


def decided(null: Callable[[Draw, int], Claim], kind: str, count: int, repeats: int) -> float:
    """The share of null data sets that are decided."""
    rng = np.random.default_rng(7)

    def draw(*shape: int) -> np.ndarray:
        return 10 * (rng.normal(size=shape) if kind == "normal" else rng.exponential(size=shape) - 1)

    verdicts = [null(draw, count).verdict for _ in range(repeats)]
    return sum(verdict in ("supports", "refutes", "architecture") for verdict in verdicts) / repeats


NULLS = (steps_of_no_mean, layers_of_one_mean, far_by_ten_points, equal_heads)


@pytest.mark.parametrize("null", NULLS)
@pytest.mark.parametrize("count", [6, 10])
def test_few_classes_decide_nothing(null, count):
    assert decided(null, "exponential", count, 5) == 0


@pytest.mark.slow  # a minute; needs nothing
@pytest.mark.parametrize("null", NULLS)
@pytest.mark.parametrize("kind", ["normal", "exponential"])
@pytest.mark.parametrize("count", [20, 50])
def test_null_data_are_decided_in_at_most_seven_percent(null, kind, count, monkeypatch):
    monkeypatch.setattr("convlens.stats.estimates.RESAMPLES", 999)
    assert decided(null, kind, count, 500) <= 0.07


@pytest.mark.parametrize("null", [steps_of_no_mean, far_by_ten_points, equal_heads])
def test_null_data_are_rarely_decided(null, monkeypatch):
    """The same with fewer repetitions, at the smallest number of classes that decides."""
    monkeypatch.setattr("convlens.stats.estimates.RESAMPLES", 399)
    number = {steps_of_no_mean: 25, far_by_ten_points: 24, equal_heads: 26}[null]
    assert decided(null, "exponential", RULES[number].min_units, 250) <= 0.07
