import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import top_k_accuracy_score

from convlens.metrics import TopKError, in_top_k

SCORES = torch.tensor([[0.1, 0.9, 0.5], [0.7, 0.2, 0.3], [0.2, 0.3, 0.6], [-3.0, -2.0, -1.0]])
LABELS = torch.tensor([2, 0, 0, 1])


def error(k: int, *batches: tuple[torch.Tensor, torch.Tensor]) -> float:
    metric = TopKError(k)
    for scores, labels in batches:
        metric.update(scores, labels)
    return metric.compute().item()


def test_errors_by_hand_are_in_percent():
    # Labels stand at places 2, 1, 3, 2 of their rows.
    assert [error(k, (SCORES, LABELS)) for k in (1, 2, 3)] == [75.0, 25.0, 0.0]
    assert in_top_k(SCORES, LABELS, 2).tolist() == [True, True, False, True]


def test_with_fewer_classes_than_k_nothing_is_wrong():
    assert error(5, (SCORES, LABELS)) == 0.0


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 30), classes=st.integers(3, 12), k=st.integers(1, 5))
def test_errors_are_scikit_learns(seed, n, classes, k):
    generator = np.random.default_rng(seed)
    scores = generator.permuted(np.tile(np.arange(classes, dtype=np.float32), (n, 1)), axis=1)  # no ties
    labels = generator.integers(0, classes, n)
    # Asked for as many as there are classes, scikit-learn only warns.
    expected = 1.0 if k >= classes else top_k_accuracy_score(labels, scores, k=k, labels=range(classes))
    ours = error(k, (torch.from_numpy(scores), torch.from_numpy(labels)))
    assert ours == pytest.approx(100 * (1 - expected), abs=1e-4)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), cuts=st.lists(st.integers(0, 20), max_size=4))
def test_the_error_is_over_all_images_and_not_a_mean_of_batches(seed, cuts):
    torch.manual_seed(seed)
    scores, labels = torch.randn(20, 6), torch.randint(0, 6, (20,))
    edges = sorted([0, 20, *cuts])
    batches = [(scores[a:b], labels[a:b]) for a, b in itertools.pairwise(edges)]
    wrong = sum(
        sorted(row, reverse=True).index(row[label]) >= 2 for row, label in zip(scores.tolist(), labels, strict=True)
    )
    assert error(2, *batches) == pytest.approx(100 * wrong / 20)


def test_two_processes_add_up_their_counts():
    halves = [TopKError(1), TopKError(1)]
    halves[0].update(SCORES[:1], LABELS[:1])
    halves[1].update(SCORES[1:], LABELS[1:])
    halves[0].merge_state(halves[1])
    assert halves[0].compute() == 75.0


def test_a_reset_metric_begins_anew():
    metric = TopKError(1)
    metric.update(SCORES, LABELS)
    metric.reset()
    metric.update(SCORES[1:2], LABELS[1:2])
    assert metric.compute() == 0.0


def test_an_image_with_a_score_that_is_no_number_is_wrong():
    scores = SCORES.clone()
    scores[1, 0] = math.nan
    assert in_top_k(scores, LABELS, 3).tolist() == [True, False, True, True]
    assert error(3, (scores, LABELS)) == 25.0


def test_half_precision_scores_count_as_well():
    assert error(1, (SCORES.bfloat16(), LABELS)) == 75.0
