"""Figures of a transfer result: score by layer and by training images, confusion matrix, gains of classes."""

from collections.abc import Mapping, Sequence
from math import nan
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int64

from convlens.figures.png import save_png
from convlens.figures.transfer import ScoreCurve, class_examples, confusion_matrix, layer_curves, size_curves
from convlens.stats.paper_transfer import PaperScore, fixed_baseline, paper_curves, paper_score
from convlens.stats.results import Figure
from convlens.transfer.dataset import TransferDataset
from convlens.transfer.probe_result import ProbeResult
from convlens.transfer.score_table import Baseline, ScoreTable, size_name, standard_deviation

IMAGES_PER_CLASS = 6
"""Example images of a class."""


def curve_figures(
    table: ScoreTable, baselines: Mapping[str, Baseline], folder: Path, *, measure: str, data: str, title: str
) -> list[Figure]:
    """Plot scores by layer (Table 7), and by number of training images if there are several (Fig 9).

    The paper's scores for the same data are drawn beside them: of its network and of the systems it compares with.

    Args:
        table: scores of the fits.
        baselines: scores of trained networks by name, drawn as horizontal lines or, for several numbers of images, as
            curves.
        folder: folder of the result.
        measure: name of the score.
        data: name of the data set.
        title: title of the plots.

    Returns:
        The figures written.
    """
    y_label = f"{measure} (%)"
    figures = []
    if len(table.layers) > 1:
        references = {
            f"{name}, {size_name(size)}": float(scores.mean())
            for name, baseline in baselines.items()
            for size, scores in baseline.scores.items()
        }
        curves = [*_curves_by_layer(table), *_paper_layers(table, data)]
        plot = layer_curves(curves, table.layers, references, y_label=y_label, title=title)
        save_png(plot, folder / "layers.png")
        figures.append(Figure("layers.png", "layers", "score of each layer (Table 7)"))
    sizes = [size for size in table.sizes if size is not None]
    if len(sizes) > 1:
        goal = fixed_baseline(data)
        curves = [*_curves_by_size(table, sizes), *_baseline_curves(baselines), *_paper_curves(data)]
        references = {} if goal is None else dict([goal])
        references |= {
            f"{name}, {size_name(None)}": float(baseline.scores[None].mean())
            for name, baseline in baselines.items()
            if None in baseline.scores
        }
        plot = size_curves(curves, references, y_label=y_label, title=title)
        save_png(plot, folder / "sizes.png")
        caption = "score by number of training images (Fig 9); the test images are the same for all numbers"
        figures.append(Figure("sizes.png", "sizes", caption))
    return figures


def _curves_by_layer(table: ScoreTable) -> list[ScoreCurve]:
    """Return a curve for each kind of weights, probe and the smallest and largest number of images."""
    sizes = (table.sizes[0], table.sizes[-1]) if len(table.sizes) > 1 else table.sizes
    curves = []
    for weights in table.weights:
        for probe in table.probes:
            for size in sizes:
                folds = [table.scores(weights, layer, probe, size) for layer in table.layers]
                curves.append(_curve(f"{probe}, {size_name(size)}", weights, range(len(folds)), folds))
    return curves


def _paper_layers(table: ScoreTable, data: str) -> list[ScoreCurve]:
    """Return the curves of Table 7 over those of its layers that were fitted, by probe and number of images."""
    curves = []
    for probe in table.probes:
        for size in table.sizes:
            scores = {place: paper_score(data, layer, probe, size) for place, layer in enumerate(table.layers)}
            if known := {place: score for place, score in scores.items() if score is not None}:
                curves.append(_printed(f"{probe}, {size_name(size)}", "paper", known))
    return curves


def _curves_by_size(table: ScoreTable, sizes: Sequence[int]) -> list[ScoreCurve]:
    """Return a curve for each kind of weights, probe and layer."""
    curves = []
    for weights in table.weights:
        for probe in table.probes:
            kind = f"{probe}, {weights}" if len(table.weights) > 1 else probe
            for layer in table.layers:
                if known := [size for size in sizes if table.has(weights, layer, probe, size)]:
                    folds = [table.scores(weights, layer, probe, size) for size in known]
                    curves.append(_curve(layer, kind, known, folds))
    return curves


def _baseline_curves(baselines: Mapping[str, Baseline]) -> list[ScoreCurve]:
    """Return the test scores of trained networks by number of training images."""
    curves = []
    for name, baseline in baselines.items():
        if sizes := sorted(size for size in baseline.scores if size is not None):
            curves.append(_curve(name, "training run", sizes, [baseline.scores[size] for size in sizes]))
    return curves


def _paper_curves(data: str) -> list[ScoreCurve]:
    """Return the curves of Fig 9 for the data: the paper's network, and the systems that it compares with."""
    curves = paper_curves(data)
    return [_printed(name, "printed", curve) for name, curve in curves.items()]


def _printed(group: str, kind: str, scores: Mapping[int, PaperScore]) -> ScoreCurve:
    spreads = [nan if score.spread is None else score.spread for score in scores.values()]
    return ScoreCurve(group, kind, list(scores), [score.mean for score in scores.values()], spreads)


def _curve(group: str, kind: str, x: Sequence[int], folds: Sequence[np.ndarray]) -> ScoreCurve:
    means = [float(scores.mean()) if len(scores) else float("nan") for scores in folds]
    return ScoreCurve(group, kind, list(x), means, [standard_deviation(scores) for scores in folds])


def class_figures(table: ScoreTable, dataset: TransferDataset, folder: Path, num_examples: int) -> list[Figure]:
    """Plot the confusion matrix of the chosen layer, and the classes that gain most and least over the first layer.

    Images of several classes have no confusion matrix.

    Args:
        table: scores of the fits.
        dataset: classes and images.
        folder: folder of the result.
        num_examples: number of classes that gain most, and of those that gain least; 0 draws none.

    Returns:
        The figures written.
    """
    confusion = [_draw_confusion(table, dataset, folder)] if dataset.targets.multilabel is None else []
    return confusion + _draw_gains(table, dataset, folder, num_examples)


def _draw_confusion(table: ScoreTable, dataset: TransferDataset, folder: Path) -> Figure:
    key = table.chosen()
    shares = confusion_shares(table.results[key], dataset.targets.labels.numpy(), len(dataset.class_names))
    accuracy = table.scores(*key).mean()
    title = f"{key.layer}, {key.probe}, {size_name(key.images_per_class)}: mean accuracy {accuracy:.1f} %"
    save_png(confusion_matrix(shares, dataset.class_names, title=title), folder / "confusion.png")
    return Figure("confusion.png", "confusion", "confusion matrix of the layer that is best on training images")


def confusion_shares(
    folds: Sequence[ProbeResult], labels: Int64[np.ndarray, " n"], num_classes: int
) -> Float[np.ndarray, "k k"]:
    """Return the percentage of a class's test images (row) that are predicted as each class (column), of all folds."""
    counts = np.zeros((num_classes, num_classes))
    for result in folds:
        np.add.at(counts, (labels[result.test.numpy()], result.metrics.predicted.numpy()), 1)
    return 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)


def _draw_gains(table: ScoreTable, dataset: TransferDataset, folder: Path, num_examples: int) -> list[Figure]:
    gains, names = gain_over_first_layer(table), dataset.class_names
    order = classes_by_gain(gains)
    count = min(num_examples, len(order) // 2)  # no class is in both halves
    if not count or len(table.layers) < 2:
        return []
    selected = [*order[:count], *order[: -count - 1 : -1]]
    rows = [(f"{names[label]}\n{gains[label]:+.0f} points", _examples(dataset, label)) for label in selected]
    title = f"Classes that gain most (above) and least from {table.layers[0]} to {table.chosen().layer}"
    save_png(class_examples(rows, title=title, divide=count), folder / "classes.png")
    return [Figure("classes.png", "classes", "classes with the largest and the smallest gain")]


def gain_over_first_layer(table: ScoreTable) -> Float[np.ndarray, " classes"]:
    """Return the gain of each class, in points, from the first to the chosen layer."""
    weights, layer, probe, size = table.chosen()
    return table.by_class(weights, layer, probe, size) - table.by_class(weights, table.layers[0], probe, size)


def classes_by_gain(gain: Float[np.ndarray, " classes"]) -> list[int]:
    """Return the classes whose gain is known, the largest gain first."""
    known = np.flatnonzero(np.isfinite(gain))
    return known[np.argsort(-gain[known], kind="stable")].tolist()


def _examples(dataset: TransferDataset, label: int) -> np.ndarray:
    """Return the first images of a class."""
    targets = dataset.targets
    shown = targets.labels == label if targets.multilabel is None else targets.multilabel[:, label] == 1
    return dataset.pixels(shown.nonzero()[:IMAGES_PER_CLASS, 0].tolist())
