"""Transfer results from fits: tables with the paper's rows, claims, confusion matrix and gains, by hand."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from convlens.io.json_files import load_json, write_json
from convlens.stats.paper_transfer import SYSTEMS_6, TABLE_6
from convlens.stats.results import AnalysisResult
from convlens.transfer.dataset import TransferDataset
from convlens.transfer.fit_cache import FitCache
from convlens.transfer.plots import classes_by_gain, confusion_shares, curve_figures, gain_over_first_layer
from convlens.transfer.probe_result import GridPoint, ProbeResult
from convlens.transfer.probes.regularization import describe_regularization
from convlens.transfer.score_table import Baseline, ScoreTable
from convlens.transfer.tables import class_table, classes_won, layer_table, positives
from convlens.transfer.targets import Metrics, Targets
from convlens.transfer.transfer_result import TransferReport, transfer_claims

CLASSES = tuple("abcdefghijklmnopqrst")
COUNT = len(CLASSES)
LABELS = torch.arange(4 * COUNT) % COUNT


class FakeCache(FitCache):
    """Fits in a list."""

    def __init__(self, *results: ProbeResult) -> None:
        self._results = list(results)

    def results(self) -> list[ProbeResult]:
        return self._results


def probe_result(layer, probe, size, fold, per_class, *, predicted=(0,), test=(0,), cv=None) -> ProbeResult:
    scores = torch.tensor(list(per_class), dtype=torch.float64)
    metrics = Metrics(float(scores.nanmean()), scores, torch.tensor(predicted))
    tried = {} if cv is None else {1.0: cv, 10.0: 99.0}
    return ProbeResult(GridPoint(layer, probe, size, fold), 1.0, tried, metrics, 3, torch.tensor(test), 0.1)


def report(table, *, multilabel=None, title="caltech-101", **baselines) -> TransferReport:
    """A report on four images of each class, of which the first two train."""

    def split(size, fold):
        return torch.arange(2 * COUNT), torch.arange(2 * COUNT, 4 * COUNT)

    def pixels(rows):
        return np.zeros((len(rows), 8, 8, 3), np.uint8)

    dataset = TransferDataset(title, CLASSES, Targets(LABELS, len(CLASSES), multilabel), split, pixels)
    return TransferReport("net", False, dataset, table, baselines, None)


LOW, HIGH = np.linspace(10, 40, COUNT), np.linspace(70, 90, COUNT)


def two_layers(*more: ProbeResult) -> ScoreTable:
    fits = [probe_result("low", "softmax", 30, fold, LOW + fold) for fold in (0, 1)]
    fits += [probe_result("high", "softmax", 30, fold, HIGH + fold) for fold in (0, 1)]
    return ScoreTable({"trained": FakeCache(*fits, *more)}, ["low", "high"])


def test_layer_table_has_means_over_folds_and_the_papers_rows():
    scratch = Baseline({30: np.array([20.0, 22.0])}, {30: LOW})
    table = layer_table(two_layers(), "caltech-101", "accuracy", {"scratch": scratch})
    assert table.columns == ["layer", "softmax, 30 per class"]
    assert table.rows == [
        ["low", "25.5 ± 0.7"],
        ["high", "80.5 ± 0.7"],
        ["scratch", "21.0 ± 1.4"],
        ["paper, pretrained", "86.5 ± 0.5"],
        ["paper, from scratch", "46.5 ± 1.7"],
        ["Bo et al. 2013", "81.4 ± 0.33"],
        ["Yang et al. 2009", "84.3"],
    ]
    few = ScoreTable({"trained": FakeCache(probe_result("low", "svm", 6, 0, LOW))}, ["low"])
    assert [row[0] for row in layer_table(few, "caltech-256", "accuracy", {}).rows] == ["low"]
    few = ScoreTable({"trained": FakeCache(probe_result("low", "softmax", 6, 0, LOW))}, ["low"])
    assert layer_table(few, "caltech-256", "accuracy", {}).rows[1] == ["paper, pretrained", "57.0 ± 0.6"]


def test_headline_uses_the_number_of_images_that_most_fits_have():
    table = two_layers(probe_result("low", "softmax", 60, 0, HIGH + 9))
    assert table.size == 30
    assert table.chosen() == ("trained", "high", "softmax", 30)
    claims = transfer_claims(report(table))
    assert [claim.number for claim in claims] == [25]
    assert "30 per class" in claims[0].about


def fits(layer, probe, score, *cv) -> list[ProbeResult]:
    return [probe_result(layer, probe, 30, fold, np.full(COUNT, score), cv=value) for fold, value in enumerate(cv)]


def test_layer_and_probe_are_chosen_on_training_images_whatever_the_test_says():
    lucky = fits("low", "svm", 99.0, 50, 52)  # the best on the test images
    best = [*fits("low", "softmax", 60.0, 60, 62), *fits("high", "svm", 50.0, 70, 68)]
    other = fits("high", "softmax", 80.0, 67, 69)
    table = ScoreTable({"trained": FakeCache(*lucky, *best, *other)}, ["low", "high"])
    assert table.chosen() == ("trained", "high", "svm", 30)
    assert table.how_chosen(table.chosen()) == "chosen by 69.0 % on held-out training images"
    assert table.chosen("softmax") == ("trained", "high", "softmax", 30)
    headline = report(table, title="zoo")
    assert "high with svm (chosen by 69.0 % on held-out training images), 30 per class" in headline.answer
    assert headline.answer.endswith("mean accuracy of the classes 50.0 ± 0.0 %")
    names = class_table(table, headline.dataset).columns
    assert names == ["class", "high, svm", "high, softmax"]


def test_a_fold_without_held_out_images_is_not_chosen_by_the_others():
    table = ScoreTable({"trained": FakeCache(*fits("low", "svm", 1.0, 90, None), *fits("high", "svm", 1.0, 5, 5))}, [])
    assert table.chosen().layer == "high"


def test_without_held_out_images_it_is_the_deepest_layer_with_softmax():
    single = [probe_result(layer, probe, 1, 0, LOW) for layer in ("low", "high") for probe in ("svm", "softmax")]
    table = ScoreTable({"trained": FakeCache(*single)}, ["low", "high"])
    assert table.chosen() == ("trained", "high", "softmax", 1)
    assert table.how_chosen(table.chosen()) == "the deepest layer"
    equal = [one for probe in ("svm", "softmax") for layer in ("low", "high") for one in fits(layer, probe, 1.0, 70)]
    assert ScoreTable({"trained": FakeCache(*equal)}, ["low", "high"]).chosen()[1:3] == ("high", "softmax")


def claim_24(table: ScoreTable, **baselines: Baseline):
    (found,) = [one for one in transfer_claims(report(table, **baselines)) if one.number == 24]
    return found


def test_pretraining_is_compared_with_training_on_the_images_alone():
    few = [probe_result("high", "softmax", size, 0, HIGH - down) for size, down in ((1, 60), (5, 20), (10, 10))]
    table = two_layers(*few)
    scratch = Baseline({30: np.array([55.0])}, {30: np.full(COUNT, 55.0)})
    tuned = Baseline({30: np.array([95.0])}, {30: np.full(COUNT, 95.0)}, from_scratch=False)
    found = claim_24(table, tuned=tuned, scratch=scratch)
    assert found.about == "caltech-101, high, softmax (the deepest layer), 30 images per class, less scratch"
    assert found.details["fewest images that beat scratch with 30 images per class (55.0 %)"] == "5 images per class"
    assert found.estimate.value == pytest.approx(80.5 - 55)
    assert found.verdict == "refutes"  # a single image of each class is less than a tenth, and worse
    assert claim_24(two_layers(*few[1:]), scratch=scratch).verdict == "supports"
    better = Baseline({30: np.array([95.0])}, {30: np.full(COUNT, 95.0)})
    assert claim_24(two_layers(*few[1:]), scratch=better).verdict == "refutes"
    assert [one.number for one in transfer_claims(report(table, tuned=tuned))] == [25]


def test_caltech_256_has_the_papers_fixed_baseline():
    scratch = Baseline({30: np.array([22.5])}, {30: np.full(COUNT, 22.5)})
    (found, _) = transfer_claims(report(two_layers(), title="caltech-256", scratch=scratch))
    assert found.details["fewest images that beat Bo et al. 2013 with 60 images per class (55.2 %)"] == (
        "30 images per class"
    )


def test_a_network_with_random_weights_decides_no_claim():
    own = report(two_layers())
    untrained = TransferReport("net", True, own.dataset, own.table, {}, None)
    assert transfer_claims(untrained) == []


def test_random_weights_are_not_a_baseline():
    fits = {
        "trained": FakeCache(probe_result("high", "svm", 30, 0, HIGH)),
        "random weights": FakeCache(probe_result("high", "svm", 30, 0, LOW)),
    }
    table = ScoreTable(fits, ["high"])
    assert transfer_claims(report(table)) == []
    rows = layer_table(table, "parts", "accuracy", {}).rows
    assert [row[0] for row in rows] == ["high", "high, random weights"]


def test_random_weights_are_the_control_of_claim_25():
    rng = np.random.default_rng(0)

    def weights(low: float, high: float) -> FakeCache:
        noise = rng.normal(size=(2, COUNT))
        fits = (("low", low + noise[0]), ("high", high + noise[1]))
        return FakeCache(*(probe_result(layer, "svm", 30, 0, values) for layer, values in fits))

    trained, falling, rising = weights(40, 60), weights(20, 10), weights(30, 50)
    for control, verdict in ((falling, "supports"), (rising, "architecture")):
        table = ScoreTable({"trained": trained, "random weights": control}, ["low", "high"])
        (found,) = transfer_claims(report(table))
        assert found.number == 25
        assert found.control is not None
        assert found.verdict == verdict


def multilabel_targets() -> torch.Tensor:
    """Each image shows the class of its label."""
    return torch.full((len(LABELS), COUNT), -1, dtype=torch.int8).scatter_(1, LABELS[:, None], 1)


def test_heads_claim_needs_classes_with_enough_test_images():
    multilabel = multilabel_targets()
    multilabel[2 * COUNT :, 0], multilabel[: 2 * COUNT, 1] = 1, 1  # all test images show a, two show b
    heads = [probe_result("high", "sigmoid", None, 0, HIGH), probe_result("high", "softmax", None, 0, HIGH - 5)]
    voc = report(ScoreTable({"trained": FakeCache(*heads)}, ["high"]), multilabel=multilabel, title="voc")
    assert positives(voc.table, voc.dataset).tolist() == [2 * COUNT] + [2] * (COUNT - 1)
    (claim,) = transfer_claims(voc)
    assert claim.number == 26
    assert claim.estimate.count == 1  # only class a has 20 test images
    assert claim.verdict == "can't tell"
    rows = class_table(voc.table, voc.dataset).rows
    assert rows[0] == ["t", "85.0", "90.0"]  # softmax, sigmoid
    assert [row[0] for row in rows[:-1]] == list(reversed(CLASSES))
    assert rows[-1] == ["mean of the 1 classes with 20 test images or more", "65.0", "70.0"]


def test_heads_are_compared_at_the_softmaxs_best_layer_on_training_images(monkeypatch):
    monkeypatch.setattr("convlens.transfer.claims.MIN_POSITIVES", 2)
    softmax = HIGH - np.linspace(4, 6, COUNT)
    heads = [
        probe_result("low", "sigmoid", None, 0, HIGH + 9, cv=90),
        probe_result("low", "softmax", None, 0, HIGH, cv=40),
        probe_result("high", "sigmoid", None, 0, HIGH, cv=30),
        probe_result("high", "softmax", None, 0, softmax, cv=50),
    ]
    table = ScoreTable({"trained": FakeCache(*heads)}, ["low", "high"])
    depth, claim = transfer_claims(report(table, multilabel=multilabel_targets(), title="voc"))
    assert (depth.number, claim.number) == (25, 26)
    assert claim.estimate.value == pytest.approx(5)
    assert claim.verdict == "supports"
    assert "high (chosen by 50.0 % on held-out training images)" in claim.about


def test_table_6_has_the_other_systems_and_the_classes_that_each_wins():
    names = list(TABLE_6)
    own = np.array([TABLE_6[name][3] for name in names])
    own[names.index("dog")], own[names.index("cow")] = 99, 86  # wins the dog, too; the cow is Oquab's still
    fit = probe_result("high", "softmax", None, 0, own)
    table = ScoreTable({"trained": FakeCache(fit)}, ["high"])
    targets = Targets(LABELS, COUNT, multilabel_targets())
    dataset = TransferDataset("voc2012", names, targets, lambda size, fold: (LABELS, LABELS), lambda rows: np.zeros(0))
    found = class_table(table, dataset)
    assert found.columns == ["class", "high, softmax", *SYSTEMS_6]
    assert ["cow", "86.0", "63.2", "77.8", "86.8", "74.4"] in found.rows
    assert found.rows[-2] == ["mean of all classes", f"{own.mean():.1f}", "74.3", "82.2", "82.8", "79.0"]
    assert found.rows[-1] == ["classes won", 4, 0, 11, 6, 3]  # as the ECCV text counts 0, 11, 6, 3


def test_a_tie_or_an_unknown_score_wins_no_class():
    assert classes_won(np.array([5.0, 4.0, math.nan, 7.0]), [np.array([5.0, 3, 0, 9]), np.array([1.0, 2, 0, 0])]) == 1


def test_confusion_matrix_has_a_row_for_each_true_class():
    folds = [
        probe_result("l", "svm", 1, 0, [0.0], predicted=[1, 1, 0], test=[0, 1, 2]),
        probe_result("l", "svm", 1, 1, [0.0], predicted=[0], test=[0]),
    ]
    labels = np.array([0, 1, 1, 2])
    # Class 0 is tested twice: once predicted as 1, once right; class 1 twice: once right, once as 0; class 2 never.
    assert confusion_shares(folds, labels, 3).tolist() == [[50, 50, 0], [50, 50, 0], [0, 0, 0]]


def test_gain_is_of_the_chosen_layer_over_the_first():
    np.testing.assert_allclose(gain_over_first_layer(two_layers()), HIGH - LOW)
    assert classes_by_gain(np.array([3.0, math.nan, 7.0, 5.0])) == [2, 3, 0]


@pytest.fixture
def plotted(monkeypatch) -> dict[str, tuple]:
    """What the plots by layer and by size were given: curves and references."""
    given: dict[str, tuple] = {}

    def plot(kind):
        def call(lines, *more, **named):
            given[kind] = (lines, more[-1])
            return Figure()

        return call

    for kind in ("layer_curves", "size_curves"):
        monkeypatch.setattr(f"convlens.transfer.plots.{kind}", plot(kind))
    return given


def test_figure_9_has_the_papers_curves_and_the_trained_networks(plotted, tmp_path):
    few = [probe_result("high", "softmax", size, 0, HIGH - down) for size, down in ((1, 60), (5, 20))]
    scratch = Baseline({15: np.array([9.0]), 30: np.array([22.0, 24.0]), None: np.array([50.0])}, {})
    curve_figures(two_layers(*few), {"scratch": scratch}, tmp_path, measure="accuracy", data="caltech-256", title="net")
    lines, references = plotted["size_curves"]
    by_name = {(line.group, line.kind): line for line in lines}
    assert by_name["high", "softmax"].x == [1, 5, 30]
    assert (by_name["scratch", "training run"].x, by_name["scratch", "training run"].y) == ([15, 30], [9, 23])
    paper = by_name["paper, pretrained", "printed"]
    assert (paper.x, paper.y[5], paper.spread[5]) == ([1, 2, 3, 4, 5, 6, 7, 10, 15, 30, 45, 60], 57.0, 0.6)
    assert by_name["Bo et al. 2013", "printed"].y == [40.5, 48.0, 51.9, 55.2]
    assert np.isnan(by_name["Sohn et al. 2011", "printed"].spread).all()
    assert references == {
        "Bo et al. 2013 with 60 images per class": 55.2,
        "scratch, all training images": 50.0,
    }


def test_the_plot_by_layer_has_table_7(plotted, tmp_path):
    names = ["layer4", "layer5", "fc6", "fc7"]
    cache = FakeCache(*(probe_result(name, "svm", 30, 0, LOW) for name in names))
    table = ScoreTable({"trained": cache}, names)
    curve_figures(table, {}, tmp_path, measure="accuracy", data="caltech-101", title="net")
    (paper,) = [line for line in plotted["layer_curves"][0] if line.kind == "paper"]
    assert (paper.x, paper.y) == ([0, 1, 3], [76.6, 86.2, 85.5])  # layer 6 is not in the table


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
    (folder / "mine.png").touch()
    write_json(folder / "result.json", {"figures": [{"file": "old.png"}]})
    result = report(two_layers()).build(folder, num_examples=2)
    assert isinstance(result, AnalysisResult)
    assert sorted(path.name for path in folder.iterdir()) == [
        *("classes.png", "confusion.png", "layers.png", "mine.png", "result.json", "table.csv")
    ]
    assert [figure.file for figure in result.figures] == ["layers.png", "confusion.png", "classes.png"]
    assert result.numbers[0].name == "high, softmax, 30 per class"
    assert (result.numbers[0].value, result.numbers[0].spread) == pytest.approx((80.5, 0.5**0.5))
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


@pytest.mark.parametrize("C", [0.1 * 0.1, 1 / 3, 1e-7, 123456789.0, 10.0])
def test_the_score_of_a_c_is_found_however_it_prints(tmp_path, C):
    made = replace(probe_result("low", "svm", 30, 0, LOW), C=C, cv_scores={C: 61.0, C * 10: 55.0})
    cache = FitCache(tmp_path, {"weights": "x"}, lambda size, fold: "digest")
    cache.put(made)
    (found,) = cache.results()
    assert (found.cv_score, found.cv_scores) == (61.0, made.cv_scores)
    path = cache.path(made.point)
    write_json(path, load_json(path) | {"tried": {f"{C:g}": 61.0}})  # as version 0.1 wrote it
    assert cache.results()[0].cv_score == 61.0


def test_a_fit_without_the_score_of_its_c_is_done_again_unless_nothing_could_be_held_out(tmp_path):
    cache = FitCache(tmp_path, {"weights": "x"}, lambda size, fold: "digest")
    many = replace(probe_result("low", "svm", 30, 0, LOW), num_train=2 * COUNT)
    few = replace(probe_result("low", "svm", 1, 0, LOW), num_train=COUNT)
    for made in (many, few):
        cache.put(made)
    assert many.point not in cache
    assert few.point in cache
