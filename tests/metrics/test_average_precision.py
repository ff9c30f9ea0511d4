import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from convlens.errors import InputError
from convlens.metrics import VocAP, average_precision, mean_average_precision

SCORES = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5])
TRUTH = torch.tensor([1, -1, 1, -1, 1])


def devkit(scores: list[float], truth: list[int], points: str) -> float:
    """VOCevalcls and VOCap of the devkit, line by line; in percent. Scores must differ."""
    order = sorted((i for i in range(len(scores)) if truth[i] != 0), key=lambda i: -scores[i])
    tp = list(itertools.accumulate(int(truth[i] > 0) for i in order))
    fp = list(itertools.accumulate(int(truth[i] < 0) for i in order))
    positives = sum(value > 0 for value in truth)
    recall = [hit / positives for hit in tp]
    precision = [hit / (hit + miss) for hit, miss in zip(tp, fp, strict=True)]
    if points == "eleven":
        total = 0.0
        for tenth in range(11):
            total += max((p for p, hit in zip(precision, tp, strict=True) if 10 * hit >= tenth * positives), default=0)
        return 100 * total / 11
    mrec, mpre = [0.0, *recall, 1.0], [0.0, *precision, 0.0]
    for i in range(len(mpre) - 2, -1, -1):
        mpre[i] = max(mpre[i], mpre[i + 1])
    steps = [i for i in range(1, len(mrec)) if mrec[i] != mrec[i - 1]]
    return 100 * sum((mrec[i] - mrec[i - 1]) * mpre[i] for i in steps)


def test_by_hand():
    # Precision 1, 1/2, 2/3, 1/2, 3/5 at recall 1/3, 1/3, 2/3, 2/3, 1; monotone: 1, 2/3, 3/5.
    assert average_precision(SCORES, TRUTH) == pytest.approx(100 * (1 + 2 / 3 + 3 / 5) / 3)
    # Recall 1/3 is reached by 0, 0.1, 0.2, 0.3; 2/3 by 0.4, 0.5, 0.6; 1 by the other four.
    assert average_precision(SCORES, TRUTH, "eleven") == pytest.approx(100 * (4 * 1 + 3 * 2 / 3 + 4 * 3 / 5) / 11)


def test_difficult_images_are_left_out():
    scores, truth = torch.tensor([0.95, 0.9, 0.85, 0.8, 0.7]), torch.tensor([0, 1, 0, -1, 1])
    kept = truth != 0
    assert average_precision(scores, truth) == average_precision(scores[kept], truth[kept])
    assert average_precision(scores, truth) == pytest.approx(100 * (1 + 2 / 3) / 2)


def test_a_recall_of_three_tenths_counts_for_three_tenths():
    # As floats 3 * 0.1 > 0.3, by which the devkit's loop loses a point.
    truth = torch.tensor([1] * 3 + [-1] * 100 + [1] * 7)
    best = average_precision(-torch.arange(110.0), truth, "eleven")
    assert best == pytest.approx(100 * (4 * 1 + 7 * 10 / 110) / 11)


@st.composite
def rankings(draw) -> tuple[np.ndarray, np.ndarray]:
    truth = np.array(draw(st.lists(st.sampled_from([1, -1, -1, 0]), min_size=1, max_size=40)))
    truth[draw(st.integers(0, len(truth) - 1))] = 1
    return np.random.default_rng(draw(st.integers(0, 9999))).permutation(len(truth)).astype(np.float64), truth


@settings(max_examples=100, deadline=None)
@given(ranking=rankings(), points=st.sampled_from(["all", "eleven"]))
def test_without_ties_it_is_the_devkits(ranking, points):
    scores, truth = ranking
    ours = average_precision(torch.from_numpy(scores), torch.from_numpy(truth), points)
    assert ours == pytest.approx(devkit(scores.tolist(), truth.tolist(), points), abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(
    ranking=rankings(), levels=st.integers(1, 5), seed=st.integers(0, 9999), points=st.sampled_from(["all", "eleven"])
)
def test_the_order_of_the_images_does_not_matter_even_with_ties(ranking, levels, seed, points):
    scores, truth = torch.from_numpy(np.floor(ranking[0] % levels)), torch.from_numpy(ranking[1])
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(scores)))
    assert average_precision(scores, truth, points) == average_precision(scores[order], truth[order], points)


@settings(max_examples=60, deadline=None)
@given(ranking=rankings(), levels=st.integers(1, 50))
def test_it_is_at_least_scikit_learns_which_does_not_interpolate(ranking, levels):
    scores, truth = np.floor(ranking[0] % levels), ranking[1]
    kept = truth != 0
    theirs = 100 * average_precision_score(truth[kept] == 1, scores[kept])
    assert average_precision(torch.from_numpy(scores), torch.from_numpy(truth)) >= theirs - 1e-9


def test_the_same_score_for_all_is_the_share_of_positives():
    assert average_precision(torch.zeros(8), torch.tensor([1, -1, -1, -1] * 2)) == pytest.approx(25)


def test_a_class_without_a_positive_is_not_in_the_mean():
    truth = torch.stack([TRUTH, -TRUTH.abs(), torch.zeros(5, dtype=torch.long)], 1)
    found = mean_average_precision(SCORES[:, None].expand(-1, 3), truth)
    assert found.per_class[0] == found.mean == average_precision(SCORES, TRUTH)
    assert found.per_class[1:].isnan().all()
    assert math.isnan(mean_average_precision(SCORES[:, None], -torch.ones(5, 1, dtype=torch.long)).mean)


@pytest.mark.parametrize(
    ("scores", "truth", "points", "said"),
    [
        (SCORES * math.nan, TRUTH, "all", "5 scores are NaN"),
        (SCORES, TRUTH + 1, "all", "a truth is neither 1 "),
        (SCORES, TRUTH, "ten", "points='ten': choose one of all, eleven"),
    ],
)
def test_impossible_values_are_errors(scores, truth, points, said):
    with pytest.raises(InputError, match=said):
        average_precision(scores, truth, points)


def test_batches_and_processes_are_put_together():
    torch.manual_seed(0)
    scores, truth = torch.randn(30, 4), torch.randint(-1, 2, (30, 4))
    halves = [VocAP("eleven"), VocAP("eleven")]
    for metric, part in zip(halves, (slice(0, 11), slice(11, 30)), strict=True):
        for batch in zip(scores[part].split(4), truth[part].split(4), strict=True):
            metric.update(*batch)
    halves[0].merge_state(halves[1])
    expected = mean_average_precision(scores, truth, "eleven")
    assert float(halves[0].compute()) == pytest.approx(expected.mean)
    assert torch.equal(halves[0].per_class().per_class, expected.per_class)
    halves[0].reset()
    halves[0].update(SCORES[:, None], TRUTH[:, None])
    assert float(halves[0].compute()) == pytest.approx(average_precision(SCORES, TRUTH, "eleven"))
