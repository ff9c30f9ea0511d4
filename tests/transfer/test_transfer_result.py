"""What is made of fitted cells: tables with the paper's rows, claims, confusion and gains, by hand."""

import math
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from convlens.data import ImageData
from convlens.data.splits.image_index import FileIndex
from convlens.data.splits.protocol import FixedSplit
from convlens.runs.baselines import Baseline
from convlens.runs.subject import LoadedNetwork
from convlens.stats.paper_transfer import PRETRAINED, SCRATCH, TABLE_6, TABLE_7, paper_classes, paper_row, paper_score
from convlens.transfer.fit_cache import FitCache, ProbeResult
from convlens.transfer.grid import GridPoint
from convlens.transfer.plots import classes_by_gain, confusion_shares, gain
from convlens.transfer.probes.regularization import describe_regularization
from convlens.transfer.score_table import ScoreTable
from convlens.transfer.transfer_result import class_tables, layer_table, positives, transfer_claims

CLASSES = tuple("abcdefgh")


class Kept(FitCache):
    """Cells as a list."""

    def __init__(self, *with_resize_mode: ProbeResult) -> None:
        self._fitted = list(with_resize_mode)

    def with_resize_mode(self) -> list[ProbeResult]:
        return self._fitted


class Data(ImageData):
    """A protocol without images."""

    protocol = class_names = None

    def __init__(self, protocol: FixedSplit) -> None:
        self.protocol, self.class_names = protocol, CLASSES


def cell(layer, probe, size, fold, per_class) -> ProbeResult:
    known = [value for value in per_class if not math.isnan(value)]
    score = sum(known) / len(known)
    return ProbeResult(GridPoint(layer, probe, size, fold), score, list(per_class), [0], [0], 1.0, {}, 3, 0.1)


def subject(targets=None, name="caltech-101"):
    labels = np.arange(len(CLASSES) * 4) % len(CLASSES)
    image_index = FileIndex(name, [f"{i}.jpg" for i in range(len(labels))], labels, Path())
    protocol = FixedSplit(
        image_indexes=(image_index,),
        class_names=CLASSES,
        name=name,
        targets=targets,
        train=np.arange(16),
        test=np.arange(16, 32),
    )
    return LoadedNetwork(nn.Identity(), Data(protocol), "net", "file", {})


LOW, HIGH = np.linspace(10, 40, 8), np.linspace(70, 90, 8)


def two_layers(*more: ProbeResult) -> ScoreTable:
    cells = [cell("low", "softmax", 30, fold, LOW + fold) for fold in (0, 1)]
    cells += [cell("high", "softmax", 30, fold, HIGH + fold) for fold in (0, 1)]
    return ScoreTable({"trained": Kept(*cells, *more)}, ["low", "high"])


def test_the_table_has_means_over_folds_and_the_papers_rows():
    found = two_layers()
    others = {"scratch": Baseline({30: np.array([20.0, 22.0])}, {30: LOW})}
    table = layer_table(subject(), found, others, "mean accuracy")
    assert table["columns"] == ["layer", "softmax, 30 per class"]
    assert table["rows"] == [
        ["low", "25.5 ± 0.7"],
        ["high", "80.5 ± 0.7"],
        ["scratch", "21.0 ± 1.4"],
        ["pretrained, paper", "86.5 ± 0.5"],
        ["from scratch, paper", "46.5 ± 1.7"],
    ]


def test_the_papers_numbers_are_those_of_its_tables():
    assert paper_score("caltech-101", "layer5", "svm", 30) == "86.2 ± 0.8"
    assert paper_score("caltech-256", "fc7", "softmax", 60) == "72.6 ± 0.1"
    assert paper_score("caltech-101", "layer5", "svm", 15) == paper_score("parts", "layer5", "svm", 30) == ""
    assert paper_row("caltech-101 with background", "pretrained", "softmax", 15) == "83.8 ± 0.5"
    assert paper_row("caltech-256", "from scratch", "softmax", 60) == "38.8 ± 1.4"
    assert paper_row("caltech-256", "from scratch", "svm", 60) == ""
    assert (len(TABLE_7), len(PRETRAINED), len(SCRATCH)) == (2, 6, 6)
    assert np.mean(list(TABLE_6.values())) == pytest.approx(79.0, abs=0.05)  # the mean that Table 6 prints
    assert paper_classes("voc2012", ["cat", "aeroplane"]).tolist() == [91.2, 96.0]
    assert paper_classes("voc2007", ["cat"]) is None


def test_the_headline_is_of_the_size_that_most_layers_have():
    found = two_layers(cell("low", "softmax", 60, 0, HIGH + 9))
    assert found.size == 30
    assert found.best() == ("trained", "high", "softmax", 30)
    claims = transfer_claims(subject(), found, {})
    assert [claim.number for claim in claims] == [25]
    assert "30 per class" in claims[0].about


def test_the_crossing_is_the_fewest_images_with_which_the_control_is_beaten():
    few = [cell("high", "softmax", size, 0, HIGH - down) for size, down in ((1, 60), (5, 20), (10, 10))]
    found = two_layers(*few)
    control = Baseline({30: np.array([55.0])}, {30: np.full(8, 55.0)})
    (claim,) = [claim for claim in transfer_claims(subject(), found, {"scratch": control}) if claim.number == 24]
    assert claim.controls == {"beats scratch with 30 images per class from": "5 images per class"}
    assert claim.estimate.value == pytest.approx(80.5 - 55)
    assert claim.verdict == "supports"
    weaker = Baseline({30: np.array([95.0])}, {30: np.full(8, 95.0)})
    (claim,) = [claim for claim in transfer_claims(subject(), found, {"scratch": weaker}) if claim.number == 24]
    assert claim.controls == {"beats scratch with 30 images per class from": "never"}
    assert claim.verdict == "refutes"


def test_random_weights_are_no_training_on_the_small_set():
    found = ScoreTable(
        {"trained": Kept(cell("high", "svm", 30, 0, HIGH)), "random weights": Kept(cell("high", "svm", 30, 0, LOW))},
        ["high"],
    )
    assert transfer_claims(subject(), found, {}) == []
    assert [row[0] for row in layer_table(subject(name="parts"), found, {}, "")["rows"]] == [
        "high",
        "high, random weights",
    ]


def test_heads_are_compared_sigmoid_less_softmax_over_test_images():
    targets = np.full((32, 8), -1, np.int8)
    targets[np.arange(32), np.arange(32) % 8] = 1
    targets[16:, 0], targets[:16, 1] = 1, 1  # 16 test images show a, 2 show b
    looked = subject(targets, "voc")
    heads = [cell("high", "sigmoid", None, 0, HIGH), cell("high", "softmax", None, 0, HIGH - 5)]
    found = ScoreTable({"trained": Kept(*heads)}, ["high"])
    assert positives(looked, found).tolist() == [16, 2, 2, 2, 2, 2, 2, 2]
    (claim,) = transfer_claims(looked, found, {})
    assert claim.number == 26
    assert math.isnan(claim.estimate.value)  # no class has 20 test images
    assert claim.verdict == "can't tell"
    rows = class_tables(looked, found)[0]["rows"]
    assert rows[0] == ["h", "85.0", "90.0"]  # softmax, sigmoid
    assert [row[0] for row in rows] == list("hgfedcba")


def test_heads_with_enough_images(monkeypatch):
    monkeypatch.setattr("convlens.transfer.claims.ENOUGH", 2)
    targets = np.full((32, 8), -1, np.int8)
    targets[np.arange(32), np.arange(32) % 8] = 1
    heads = [cell("high", "sigmoid", None, 0, HIGH), cell("high", "softmax", None, 0, HIGH - np.linspace(4, 6, 8))]
    (claim,) = transfer_claims(subject(targets, "voc"), ScoreTable({"trained": Kept(*heads)}, ["high"]), {})
    assert claim.estimate.value == pytest.approx(5)
    assert claim.verdict == "supports"


def test_confusion_has_a_row_for_each_true_class():
    folds = [
        ProbeResult(GridPoint("l", "svm", 1, 0), 0.0, [], [1, 1, 0], [0, 1, 2], 1.0, {}, 3, 0.1),
        ProbeResult(GridPoint("l", "svm", 1, 1), 0.0, [], [0], [0], 1.0, {}, 3, 0.1),
    ]
    labels = np.array([0, 1, 1, 2])
    # Class 0 is shown twice: once taken for 1, once right; class 1 twice: once right, once taken for 0; class 2 never.
    assert confusion_shares(folds, labels, 3).tolist() == [[50, 50, 0], [50, 50, 0], [0, 0, 0]]


def test_gains_are_of_the_best_layer_over_the_first_largest_first():
    found = two_layers()
    np.testing.assert_allclose(gain(found), HIGH - LOW)
    assert classes_by_gain(np.array([3.0, math.nan, 7.0, 5.0])) == [2, 3, 0]


def test_c_is_said_as_it_was_given():
    probes, searched = ("svm", "softmax"), "searched on the training images, where each class has two"
    assert describe_regularization(10.0, probes) == "C is 10"
    assert describe_regularization(None, probes) == f"C is {searched}"
    assert (
        describe_regularization({"svm": 10, "softmax": 100.0, "sigmoid": 1}, probes)
        == "C is 10 for svm; 100 for softmax"
    )
    assert describe_regularization({"svm": 0.5}, probes) == f"C is 0.5 for svm; {searched}, for softmax"
