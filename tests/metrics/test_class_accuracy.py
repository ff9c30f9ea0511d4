import math
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score
from torchmetrics.classification import MulticlassAccuracy

from convlens.metrics import ClassAccuracy, MeanClassAccuracy, mean_class_accuracy


def test_by_hand_small_classes_weigh_as_much_as_large_ones():
    found = mean_class_accuracy(torch.tensor([0, 0, 0, 1, 2, 0]), torch.tensor([0, 0, 0, 0, 2, 2]), 3)
    assert found.per_class[[0, 2]].tolist() == [75.0, 50.0]
    assert math.isnan(found.per_class[1])
    assert found.mean == 62.5


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 9999), n=st.integers(1, 40), classes=st.integers(2, 6))
def test_it_is_scikit_learns_and_torchmetrics(seed, n, classes):
    torch.manual_seed(seed)
    scores, labels = torch.randn(n, classes), torch.randint(classes, (n,))
    ours = mean_class_accuracy(scores.argmax(1), labels, classes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # classes that are predicted only
        assert ours.mean == pytest.approx(100 * balanced_accuracy_score(labels, scores.argmax(1)), abs=1e-4)
    if len(set(labels.tolist())) == classes:  # torchmetrics counts a class without images as wrong, once predicted
        theirs = MulticlassAccuracy(num_classes=classes, average="macro")(scores, labels)
        assert ours.mean == pytest.approx(100 * float(theirs), abs=1e-4)
    metric = ClassAccuracy()
    for batch in zip(scores.split(7), labels.split(7), strict=True):
        metric.update(*batch)
    torch.testing.assert_close(metric.compute(), ours.per_class, equal_nan=True)


def test_two_processes_add_up_their_counts():
    torch.manual_seed(0)
    scores, labels = torch.randn(20, 3), torch.randint(3, (20,))
    halves = [MeanClassAccuracy(), MeanClassAccuracy()]
    halves[0].update(scores[:6], labels[:6])
    halves[1].update(scores[6:], labels[6:])
    halves[0].merge_state(halves[1])
    assert float(halves[0].compute()) == pytest.approx(mean_class_accuracy(scores.argmax(1), labels, 3).mean)


def test_a_reset_metric_begins_anew_with_other_classes():
    metric = MeanClassAccuracy()
    metric.update(torch.eye(3), torch.arange(3))
    metric.reset()
    metric.update(torch.eye(4), torch.tensor([0, 1, 2, 0]))
    assert float(metric.compute()) == pytest.approx(100 * (0.5 + 1 + 1) / 3)


def test_an_image_with_a_score_that_is_no_number_is_wrong():
    metric = ClassAccuracy()
    metric.update(torch.tensor([[math.nan, 1.0], [0.0, 1.0]]), torch.tensor([1, 1]))
    assert metric.compute()[1] == 50.0
