"""The grid of fits against fits of each point in full dimension with scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.svm import LinearSVC

from convlens.errors import InputError
from convlens.metrics.average_precision import average_precision
from convlens.transfer import grid
from convlens.transfer.grid import ProbeConfig, fit_grid
from convlens.transfer.probe_result import GridPoint
from convlens.transfer.targets import Targets

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


def points(**given):
    chosen = {"layer": ["low", "high"], "probe": ["svm", "softmax"], "images_per_class": [3, 8], "fold": [0, 1]} | given
    return [
        GridPoint(layer, probe, size, fold)
        for fold in chosen["fold"] for layer in chosen["layer"] for size in chosen["images_per_class"]
        for probe in chosen["probe"]
    ]  # fmt: skip


def run(selected, config, targets=None):
    targets = targets or Targets(LABELS, CLASSES)
    return {result.point: result for result in fit_grid(FEATURES.__getitem__, targets, split, selected, config)}


@pytest.mark.parametrize("normalize", ["l2", "standardize", "none"])
def test_each_point_equals_scikit_learn_in_full_dimension(normalize):
    found = run(points(), ProbeConfig(normalize, C=1.0))
    assert set(found) == set(points())
    for point, result in found.items():
        train, test = split(point.images_per_class, point.fold)
        x = FEATURES[point.layer].double().numpy()
        if normalize == "l2":
            x = x / np.linalg.norm(x, axis=1, keepdims=True)
        if normalize == "standardize":
            x = (x - x[train].mean(0)) / x[train].std(0)
        probe = (
            LinearSVC(C=1.0, tol=1e-8, max_iter=100_000)
            if point.probe == "svm"
            else LogisticRegression(C=1.0, tol=1e-8)
        )
        predicted = probe.fit(x[train], LABELS[train]).predict(x[test])
        np.testing.assert_array_equal(result.metrics.predicted.numpy(), predicted)
        assert result.metrics.score == pytest.approx(100 * balanced_accuracy_score(LABELS[test], predicted))
        assert result.num_train == len(train)


def test_features_shared_by_all_folds_give_the_same_results(monkeypatch):
    shared = run(points(), ProbeConfig())
    monkeypatch.setattr(grid, "MAX_SHARED_IMAGES", 5)
    apart = run(points(), ProbeConfig())
    for point, result in shared.items():
        assert (result.C, result.cv_scores) == (apart[point].C, pytest.approx(apart[point].cv_scores))
        torch.testing.assert_close(result.metrics.per_class, apart[point].metrics.per_class)


def test_C_is_searched_on_the_training_images_alone():
    one = GridPoint("low", "svm", 8, 0)
    test = split(8, 0)[1]
    other = LABELS.clone()
    other[test] = (other[test] + 1) % CLASSES
    first, second = run([one], ProbeConfig())[one], run([one], ProbeConfig(), Targets(other, CLASSES))[one]
    assert first.C == second.C
    assert first.cv_scores == second.cv_scores
    assert first.metrics.score != second.metrics.score
    assert first.cv_scores[first.C] >= max(first.cv_scores.values()) - grid.MIN_GAIN * len(first.cv_scores)
    assert {10.0, 1.0} <= set(first.cv_scores)


def test_C_is_given_for_one_probe_and_searched_for_another():
    given = ProbeConfig(C={"svm": 3.0})
    svm, softmax = (run([GridPoint("low", probe, 8, 0)], given).popitem()[1] for probe in ("svm", "softmax"))
    assert svm.C == 3.0
    assert softmax.C in softmax.cv_scores
    assert softmax.metrics.score == run([softmax.point], ProbeConfig())[softmax.point].metrics.score


def test_a_given_C_is_scored_on_a_third_of_the_training_images():
    labels = torch.where(torch.arange(len(LABELS)) % 5 == 0, (LABELS + 1) % CLASSES, LABELS)  # some are not learnable
    one = GridPoint("high", "softmax", 8, 1)
    result = run([one], ProbeConfig("none", C=0.1), Targets(labels, CLASSES))[one]
    train, _ = split(8, 1)
    seen, held = dict.fromkeys(range(CLASSES), 0), []
    for row in train.tolist():  # every third image of a class, from the first
        held.append(seen[int(labels[row])] % 3 == 0)
        seen[int(labels[row])] += 1
    rest, out = train[~torch.tensor(held)], train[torch.tensor(held)]
    x = FEATURES["high"].double().numpy()
    probe = LogisticRegression(C=0.1, tol=1e-8, max_iter=1000).fit(x[rest], labels[rest])
    expected = 100 * balanced_accuracy_score(labels[out], probe.predict(x[out]))
    assert result.cv_scores == {0.1: pytest.approx(expected)}
    assert result.cv_score == pytest.approx(expected)
    assert 10 < expected < 100


def test_C_is_not_searched_with_one_image_per_class():
    one = GridPoint("high", "softmax", 1, 0)
    result = run([one], ProbeConfig())[one]
    assert (result.C, result.cv_scores) == (grid.START_C["softmax"], {})
    assert np.isnan(result.cv_score)
    given = run([one], ProbeConfig(C=1.0))[one]
    assert given.cv_scores == {}
    assert result.metrics.score > 25


def test_images_of_several_classes_are_scored_by_average_precision():
    torch.manual_seed(0)
    multilabel = torch.where(torch.rand(len(LABELS), CLASSES) < 0.3, 1, -1).to(torch.int8)
    multilabel[torch.arange(len(LABELS)), LABELS] = 1
    multilabel[5, 3] = 0
    targets = Targets(LABELS, CLASSES, multilabel)
    rows = torch.arange(20)
    scores = torch.randn(20, CLASSES)
    metrics = targets.metrics("sigmoid", scores, rows)
    expected = [average_precision(scores[:, k], multilabel[rows, k]) for k in range(CLASSES)]
    torch.testing.assert_close(metrics.per_class, torch.tensor(expected, dtype=metrics.per_class.dtype))
    # Softmax is ranked by its probability: a constant added to an image's scores changes nothing.
    shifted = scores + torch.randn(20, 1)
    torch.testing.assert_close(
        targets.metrics("softmax", scores, rows).per_class, targets.metrics("softmax", shifted, rows).per_class
    )
    selected = [GridPoint("high", probe, None, 0) for probe in ("softmax", "sigmoid", "svm")]
    found = run(selected, ProbeConfig(C=1.0), targets)
    assert all(0 < result.metrics.score <= 100 for result in found.values())


def test_targets_of_images_of_several_classes():
    multilabel = torch.tensor([[1, 1, -1], [-1, 0, 1]], dtype=torch.int8)
    labels, rows = torch.tensor([1, 2]), torch.arange(2)
    assert Targets(labels, 3, multilabel).for_probe("softmax", rows).tolist() == [[0, 1, 0], [0, 0, 1]]
    assert Targets(labels, 3, multilabel, "shares").for_probe("softmax", rows).tolist() == [[0.5, 0.5, 0], [0, 0, 1]]
    assert Targets(labels, 3, multilabel, "repeat").for_probe("softmax", rows).tolist() == [[1, 1, 0], [0, 0, 1]]
    assert Targets(labels, 3, multilabel).for_probe("svm", rows).tolist() == [[1, 1, -1], [-1, 0, 1]]
    with pytest.raises(InputError, match="multilabel_policy='best' is unknown: choose largest, shares, repeat"):
        Targets(labels, 3, multilabel, "best")
    with pytest.raises(InputError, match="a classifier needs at least two classes"):
        Targets(labels, 1)


def test_settings_that_cannot_be_used_are_refused():
    with pytest.raises(InputError, match="normalize='max' is unknown: choose l2, standardize, none"):
        ProbeConfig("max")
    with pytest.raises(InputError, match="cv_folds=1: give a whole number of at least 2"):
        ProbeConfig(cv_folds=1)
