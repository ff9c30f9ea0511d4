"""Claims 24 to 26: statistics by hand, against scipy, and verdicts."""

import numpy as np
import pytest
from scipy.stats import page_trend_test, rankdata, spearmanr

from convlens.transfer.claims import depth_claim, depth_correlations, heads_claim, page_test, pretraining_claim, ranks


def test_ranks_and_trends_are_scipys():
    scores = np.random.default_rng(0).integers(0, 5, (30, 6)).astype(float)
    np.testing.assert_array_equal(ranks(scores), np.apply_along_axis(rankdata, 1, scores))
    expected = [0 if len(set(row)) == 1 else spearmanr(row, range(6)).statistic for row in scores]
    np.testing.assert_allclose(depth_correlations(scores), expected, atol=1e-12)
    assert depth_correlations(np.array([[1.0, 2, 3], [3, 2, 1], [2, 2, 2]])).tolist() == [1, -1, 0]


def test_pages_test_is_scipys():
    scores = np.random.default_rng(1).random((40, 5)) + 0.05 * np.arange(5)
    theirs = page_trend_test(scores, method="asymptotic")
    statistic, p = page_test(scores)
    assert statistic == pytest.approx(theirs.statistic)
    assert p == pytest.approx(theirs.pvalue, rel=1e-6)


def test_depth_is_supported_refuted_or_left_open():
    rng = np.random.default_rng(2)
    base = rng.random(40) * 20
    up = {f"layer{k}": base + 10 * k + rng.random(40) for k in range(1, 5)}
    assert depth_claim(up, "").verdict == "supports"
    assert depth_claim(dict(reversed(up.items())), "").verdict == "refutes"
    flat = {f"layer{k}": rng.random(40) for k in range(1, 5)}
    assert depth_claim(flat, "").verdict == "can't tell"
    few = {name: values[:5] for name, values in up.items()}
    assert depth_claim(few, "").verdict == "can't tell"


def test_pretraining_is_compared_at_the_most_images():
    rng = np.random.default_rng(3)
    scratch = 40 + 10 * rng.random(30)
    own = {1: scratch - 20, 6: scratch + 5, 30: scratch + 40}
    claim = pretraining_claim(own, {30: scratch}, "scratch", "")
    assert claim.verdict == "supports"
    assert claim.estimate.value == pytest.approx(40)
    assert claim.controls == {"beats scratch with 30 images per class from": "6 images per class"}
    assert pretraining_claim({30: scratch - 3}, {30: scratch}, "scratch", "").verdict == "refutes"
    never = pretraining_claim({1: scratch - 9, None: scratch - 3}, {None: scratch}, "scratch", "")
    assert never.controls == {"beats scratch with all training images from": "never"}
    assert never.statistic.startswith("score with all training images minus that of scratch")


def test_heads_are_compared_over_classes_with_positives():
    rng = np.random.default_rng(4)
    softmax, crowd = 60 + 10 * rng.random(20), 1 + rng.random(20)
    sigmoid = softmax + 2 + rng.random(20)
    sigmoid[3] = np.nan
    claim = heads_claim(sigmoid, softmax, crowd, "", np.full(20, 20))
    assert claim.verdict == "supports"
    assert claim.estimate.count == 19
    assert heads_claim(sigmoid[:4], softmax[:4], crowd[:4], "", np.full(4, 20)).verdict == "can't tell"
    assert heads_claim(sigmoid, softmax, crowd, "", np.full(20, 19)).verdict == "can't tell"
