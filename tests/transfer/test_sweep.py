"""The sweep against fitting each cell by itself, in full dimension, with scikit-learn."""

import sys

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.svm import LinearSVC

from convlens.errors import InputError
from convlens.metrics.average_precision import average_precision
from convlens.transfer.grid import Cell, Setting, sweep
from convlens.transfer.targets import Targets

module = sys.modules["convlens.transfer.grid"]  # the package has a function of that name
CLASSES, EACH = 4, 12
LABELS = torch.arange(CLASSES * EACH) % CLASSES
FEATURES = {
    name: (
        torch.randn(len(LABELS), d, generator=torch.Generator().manual_seed(d)) + 0.6 * torch.randn(CLASSES, d)[LABELS]
    )
    for name, d in (("low", 200), ("high", 20))
}


def split(size, fold):
    """The first ``size`` images of each class in a fold's order train, the last four test."""
    order = np.random.default_rng(fold).permutation(EACH)
    images = np.arange(len(LABELS)).reshape(EACH, CLASSES)[order]
    return torch.from_numpy(images[: size or 8].reshape(-1).copy()), torch.from_numpy(images[8:].reshape(-1).copy())


def cells(**given):
    chosen = {"layer": ["low", "high"], "probe": ["svm", "softmax"], "images_per_class": [3, 8], "fold": [0, 1]} | given
    return [
        Cell(layer, probe, size, fold)
        for fold in chosen["fold"] for layer in chosen["layer"] for size in chosen["images_per_class"]
        for probe in chosen["probe"]
    ]  # fmt: skip


def run(wanted, setting, truth=None):
    truth = truth or Targets(LABELS, CLASSES)
    return {outcome.cell: outcome for outcome in sweep(FEATURES.__getitem__, truth, split, wanted, setting)}


@pytest.mark.parametrize("normalise", ["l2", "standardise", "none"])
def test_each_cell_is_what_scikit_learn_finds_in_full_dimension(normalise):
    found = run(cells(), Setting(normalise, c=1.0))
    assert set(found) == set(cells())
    for cell, outcome in found.items():
        train, test = split(cell.images_per_class, cell.fold)
        x = FEATURES[cell.layer].double().numpy()
        if normalise == "l2":
            x = x / np.linalg.norm(x, axis=1, keepdims=True)
        if normalise == "standardise":
            x = (x - x[train].mean(0)) / x[train].std(0)
        probe = (
            LinearSVC(C=1.0, tol=1e-8, max_iter=100_000) if cell.probe == "svm" else LogisticRegression(C=1.0, tol=1e-8)
        )
        predicted = probe.fit(x[train], LABELS[train]).predict(x[test])
        np.testing.assert_array_equal(outcome.scored.predicted.numpy(), predicted)
        assert outcome.scored.score == pytest.approx(100 * balanced_accuracy_score(LABELS[test], predicted))
        assert outcome.train == len(train)


def test_many_images_are_treated_fold_by_fold_with_the_same_result(monkeypatch):
    shared = run(cells(), Setting())
    monkeypatch.setattr(module, "MOST_SHARED", 5)
    apart = run(cells(), Setting())
    for cell, outcome in shared.items():
        assert (outcome.c, outcome.tried) == (apart[cell].c, pytest.approx(apart[cell].tried))
        torch.testing.assert_close(outcome.scored.per_class, apart[cell].scored.per_class)


def test_c_is_searched_on_the_training_images_alone():
    one = Cell("low", "svm", 8, 0)
    test = split(8, 0)[1]
    other = LABELS.clone()
    other[test] = (other[test] + 1) % CLASSES
    first, second = run([one], Setting())[one], run([one], Setting(), Targets(other, CLASSES))[one]
    assert first.c == second.c
    assert first.tried == second.tried
    assert first.scored.score != second.scored.score
    assert first.tried[first.c] >= max(first.tried.values()) - module.GAIN * len(first.tried)
    assert {10.0, 1.0} <= set(first.tried)


def test_c_of_one_probe_is_given_and_that_of_another_searched():
    given = Setting(c={"svm": 3.0})
    svm, softmax = (run([Cell("low", probe, 8, 0)], given).popitem()[1] for probe in ("svm", "softmax"))
    assert (svm.c, svm.tried) == (3.0, {})
    assert softmax.c in softmax.tried
    assert softmax.scored.score == run([softmax.cell], Setting())[softmax.cell].scored.score


def test_one_image_of_each_class_is_too_few_to_search_with():
    one = Cell("high", "softmax", 1, 0)
    outcome = run([one], Setting())[one]
    assert (outcome.c, outcome.tried) == (module.START_C["softmax"], {})
    assert outcome.scored.score > 25


def test_several_classes_an_image_are_scored_by_average_precision():
    torch.manual_seed(0)
    targets = torch.where(torch.rand(len(LABELS), CLASSES) < 0.3, 1, -1).to(torch.int8)
    targets[torch.arange(len(LABELS)), LABELS] = 1
    targets[5, 3] = 0
    truth = Targets(LABELS, CLASSES, targets)
    rows = torch.arange(20)
    scores = torch.randn(20, CLASSES)
    scored = truth.score("sigmoid", scores, rows)
    expected = [average_precision(scores[:, k], targets[rows, k]) for k in range(CLASSES)]
    torch.testing.assert_close(scored.per_class, torch.tensor(expected, dtype=scored.per_class.dtype))
    # Softmax is ranked by its probability: a constant added to an image's scores changes nothing.
    shifted = scores + torch.randn(20, 1)
    torch.testing.assert_close(
        truth.score("softmax", scores, rows).per_class, truth.score("softmax", shifted, rows).per_class
    )
    wanted = [Cell("high", probe, None, 0) for probe in ("softmax", "sigmoid", "svm")]
    found = run(wanted, Setting(c=1.0), truth)
    assert all(0 < outcome.scored.score <= 100 for outcome in found.values())


def test_what_probes_are_to_give_for_several_classes():
    targets = torch.tensor([[1, 1, -1], [-1, 0, 1]], dtype=torch.int8)
    labels, rows = torch.tensor([1, 2]), torch.arange(2)
    assert Targets(labels, 3, targets).wanted("softmax", rows).tolist() == [[0, 1, 0], [0, 0, 1]]
    assert Targets(labels, 3, targets, "shares").wanted("softmax", rows).tolist() == [[0.5, 0.5, 0], [0, 0, 1]]
    assert Targets(labels, 3, targets, "repeat").wanted("softmax", rows).tolist() == [[1, 1, 0], [0, 0, 1]]
    assert Targets(labels, 3, targets).wanted("svm", rows).tolist() == [[1, 1, -1], [-1, 0, 1]]
    with pytest.raises(InputError, match="exclusive='best': choose one of largest, shares, repeat"):
        Targets(labels, 3, targets, "best")
    with pytest.raises(InputError, match="one class only"):
        Targets(labels, 1)
