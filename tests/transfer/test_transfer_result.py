"""Transfer results from fits: tables with the paper's rows, claims, confusion matrix and gains, by hand."""

import json
import math

import numpy as np
import pytest
import torch

from convlens.io.json_files import load_json
from convlens.stats.results import AnalysisResult
from convlens.transfer.dataset import TransferDataset
from convlens.transfer.fit_cache import FitCache
from convlens.transfer.plots import classes_by_gain, confusion_shares, gain_over_first_layer
from convlens.transfer.probe_result import GridPoint, ProbeResult
from convlens.transfer.probes.regularization import describe_regularization
from convlens.transfer.score_table import Baseline, ScoreTable
from convlens.transfer.targets import Metrics, Targets
from convlens.transfer.transfer_result import TransferReport, class_table, layer_table, positives, transfer_claims

CLASSES = tuple("abcdefgh")
LABELS = torch.arange(32) % 8


class FakeCache(FitCache):
    """Fits in a list."""

    def __init__(self, *results: ProbeResult) -> None:
        self._results = list(results)

    def results(self) -> list[ProbeResult]:
        return self._results


def probe_result(layer, probe, size, fold, per_class, *, predicted=(0,), test=(0,)) -> ProbeResult:
    scores = torch.tensor(list(per_class), dtype=torch.float64)
    metrics = Metrics(float(scores.nanmean()), scores, torch.tensor(predicted))
    return ProbeResult(GridPoint(layer, probe, size, fold), 1.0, {}, metrics, 3, torch.tensor(test), 0.1)


def report(table, *, multilabel=None, title="caltech-101", **baselines) -> TransferReport:
    """A report on 32 images, of which the first 16 train."""

    def split(size, fold):
        return torch.arange(16), torch.arange(16, 32)

    def pixels(rows):
        return np.zeros((len(rows), 8, 8, 3), np.uint8)

    dataset = TransferDataset(title, CLASSES, Targets(LABELS, len(CLASSES), multilabel), split, pixels)
    return TransferReport("net", False, dataset, table, baselines, None)


LOW, HIGH = np.linspace(10, 40, 8), np.linspace(70, 90, 8)


def two_layers(*more: ProbeResult) -> ScoreTable:
    fits = [probe_result("low", "softmax", 30, fold, LOW + fold) for fold in (0, 1)]
    fits += [probe_result("high", "softmax", 30, fold, HIGH + fold) for fold in (0, 1)]
    return ScoreTable({"trained": FakeCache(*fits, *more)}, ["low", "high"])


def test_layer_table_has_means_over_folds_and_the_papers_rows():
    scratch = Baseline({30: np.array([20.0, 22.0])}, {30: LOW})
    table = layer_table(report(two_layers(), scratch=scratch))
    assert table.columns == ["layer", "softmax, 30 per class"]
    assert table.rows == [
        ["low", "25.5 ± 0.7"],
        ["high", "80.5 ± 0.7"],
        ["scratch", "21.0 ± 1.4"],
        ["pretrained, paper", "86.5 ± 0.5"],
        ["from scratch, paper", "46.5 ± 1.7"],
    ]


def test_headline_uses_the_number_of_images_that_most_fits_have():
    table = two_layers(probe_result("low", "softmax", 60, 0, HIGH + 9))
    assert table.size == 30
    assert table.best() == ("trained", "high", "softmax", 30)
    claims = transfer_claims(report(table))
    assert [claim.number for claim in claims] == [25]
    assert "30 per class" in claims[0].about


def test_crossing_is_the_fewest_images_that_beat_the_baseline():
    few = [probe_result("high", "softmax", size, 0, HIGH - down) for size, down in ((1, 60), (5, 20), (10, 10))]
    table = two_layers(*few)
    baseline = Baseline({30: np.array([55.0])}, {30: np.full(8, 55.0)})
    (claim,) = [claim for claim in transfer_claims(report(table, scratch=baseline)) if claim.number == 24]
    assert claim.controls == {"beats scratch with 30 images per class from": "5 images per class"}
    assert claim.estimate.value == pytest.approx(80.5 - 55)
    assert claim.verdict == "supports"
    better = Baseline({30: np.array([95.0])}, {30: np.full(8, 95.0)})
    (claim,) = [claim for claim in transfer_claims(report(table, scratch=better)) if claim.number == 24]
    assert claim.controls == {"beats scratch with 30 images per class from": "never"}
    assert claim.verdict == "refutes"


def test_random_weights_are_not_a_baseline():
    fits = {
        "trained": FakeCache(probe_result("high", "svm", 30, 0, HIGH)),
        "random weights": FakeCache(probe_result("high", "svm", 30, 0, LOW)),
    }
    table = ScoreTable(fits, ["high"])
    assert transfer_claims(report(table)) == []
    rows = layer_table(report(table, title="parts")).rows
    assert [row[0] for row in rows] == ["high", "high, random weights"]


def multilabel_targets() -> torch.Tensor:
    """Each image shows the class of its label."""
    return torch.full((32, 8), -1, dtype=torch.int8).scatter_(1, LABELS[:, None], 1)


def test_heads_claim_needs_classes_with_enough_test_images():
    multilabel = multilabel_targets()
    multilabel[16:, 0], multilabel[:16, 1] = 1, 1  # 16 test images show a, 2 show b
    heads = [probe_result("high", "sigmoid", None, 0, HIGH), probe_result("high", "softmax", None, 0, HIGH - 5)]
    voc = report(ScoreTable({"trained": FakeCache(*heads)}, ["high"]), multilabel=multilabel, title="voc")
    assert positives(voc).tolist() == [16, 2, 2, 2, 2, 2, 2, 2]
    (claim,) = transfer_claims(voc)
    assert claim.number == 26
    assert math.isnan(claim.estimate.value)  # no class has 20 test images
    assert claim.verdict == "can't tell"
    rows = class_table(voc).rows
    assert rows[0] == ["h", "85.0", "90.0"]  # softmax, sigmoid
    assert [row[0] for row in rows] == list("hgfedcba")


def test_heads_claim_is_sigmoid_minus_softmax(monkeypatch):
    monkeypatch.setattr("convlens.transfer.claims.MIN_POSITIVES", 2)
    softmax = HIGH - np.linspace(4, 6, 8)
    heads = [probe_result("high", "sigmoid", None, 0, HIGH), probe_result("high", "softmax", None, 0, softmax)]
    table = ScoreTable({"trained": FakeCache(*heads)}, ["high"])
    (claim,) = transfer_claims(report(table, multilabel=multilabel_targets(), title="voc"))
    assert claim.estimate.value == pytest.approx(5)
    assert claim.verdict == "supports"


def test_confusion_matrix_has_a_row_for_each_true_class():
    folds = [
        probe_result("l", "svm", 1, 0, [0.0], predicted=[1, 1, 0], test=[0, 1, 2]),
        probe_result("l", "svm", 1, 1, [0.0], predicted=[0], test=[0]),
    ]
    labels = np.array([0, 1, 1, 2])
    # Class 0 is tested twice: once predicted as 1, once right; class 1 twice: once right, once as 0; class 2 never.
    assert confusion_shares(folds, labels, 3).tolist() == [[50, 50, 0], [50, 50, 0], [0, 0, 0]]


def test_gain_is_of_the_best_layer_over_the_first():
    np.testing.assert_allclose(gain_over_first_layer(two_layers()), HIGH - LOW)
    assert classes_by_gain(np.array([3.0, math.nan, 7.0, 5.0])) == [2, 3, 0]


def test_description_of_regularization():
    searched = "searched by cross-validation on the training images, where each class has two"
    probes = ("svm", "softmax")
    assert describe_regularization(10.0, probes) == "C is 10"
    assert describe_regularization(None, probes) == f"C is {searched}"
    given = {"svm": 10, "softmax": 100.0, "sigmoid": 1}
    assert describe_regularization(given, probes) == "C is 10 for svm; 100 for softmax"
    assert describe_regularization({"svm": 0.5}, probes) == f"C is 0.5 for svm; {searched}, for softmax"


def test_result_replaces_earlier_figures(tmp_path):
    folder = tmp_path / "transfer_caltech-101"
    folder.mkdir()
    (folder / "old.png").touch()
    result = report(two_layers()).build(folder, num_examples=2)
    assert isinstance(result, AnalysisResult)
    assert sorted(path.name for path in folder.iterdir()) == ["classes.png", "confusion.png", "layers.png", "table.csv"]
    assert [figure.file for figure in result.figures] == ["layers.png", "confusion.png", "classes.png"]
    assert result.numbers[0].name == "best: high, softmax, 30 per class"
    assert (result.numbers[0].value, result.numbers[0].spread) == (80.5, pytest.approx(0.5**0.5))
    assert result.analysis == "transfer_caltech-101"


def test_results_written_by_version_0_1_are_read(tmp_path):
    """The keys and the folder of a fit written before the renaming."""
    cache = FitCache(tmp_path, {"weights": "x", "c": None, "normalise": "l2"}, lambda size, fold: "digest")
    assert cache.folder.name == "0ef00bda"
    cache.folder.mkdir()
    content = {
        "about": {"weights": "x", "c": None, "normalise": "l2", "split": "digest"},
        "cell": ["layer5", "svm", None, 1],
        "score": 50.0,
        "c": 10.0,
        "tried": {"1": 40.0, "10": 50.0},
        "train": 12,
        "seconds": 0.25,
        "per_class": [50.0, None],
        "test": [4, 5],
        "predicted": [0, 1],
    }
    path = cache.folder / "layer5-svm-all-1.json"
    path.write_text(json.dumps(content))
    (result,) = cache.results()
    assert result.point == GridPoint("layer5", "svm", None, 1)
    assert result.point in cache
    assert (result.C, result.cv_scores, result.num_train) == (10.0, {1.0: 40.0, 10.0: 50.0}, 12)
    assert result.metrics.per_class.tolist()[0] == 50
    assert result.metrics.per_class.isnan().tolist() == [False, True]
    cache.put(result)
    assert load_json(path) == content
    other = FitCache(tmp_path, {"weights": "y"}, lambda size, fold: "digest")
    assert (other.results(), other.num_other_settings) == ([], 1)
    assert FitCache(tmp_path, {"weights": "x", "c": None, "normalise": "l2"}, lambda s, f: "no").results() == []
