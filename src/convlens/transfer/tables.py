"""Tables of a transfer result with the paper's numbers: scores by layer (Tables 4, 5 and 7) and by class (Table 6)."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int64

from convlens.io.tables import Cell
from convlens.stats.paper_transfer import (
    PAPER_ROWS,
    SYSTEMS_6,
    TABLE_6_MEANS,
    PaperScore,
    paper_classes,
    paper_row,
    paper_score,
)
from convlens.stats.results import Table
from convlens.transfer.claims import MIN_POSITIVES
from convlens.transfer.dataset import TransferDataset
from convlens.transfer.score_table import Baseline, ScoreTable, format_scores, size_name

MAX_CLASSES, EXTREME_CLASSES = 24, 10
"""With more classes than the first, a table shows only so many of the best and of the worst."""


def layer_table(table: ScoreTable, title: str, measure: str, baselines: Mapping[str, Baseline]) -> Table:
    """Return a row for each layer, baseline and row of the paper, with a column for each probe and number of images.

    Args:
        table: scores of the fits.
        title: name of the data set.
        measure: name of the score.
        baselines: scores of trained networks, by name.
    """
    columns = [(probe, size) for probe in table.probes for size in table.sizes]
    rows: list[list[Cell]] = []
    for weights in table.weights:
        own = weights == table.weights[0]
        for layer in table.layers:
            name = layer if own else f"{layer}, {weights}"
            rows.append([name, *(format_scores(table.scores(weights, layer, *column)) for column in columns)])
            printed = [paper_score(title, layer, *column) for column in columns]
            if own and any(printed):
                rows.append([f"{layer}, paper", *map(_text, printed)])
    for name, baseline in baselines.items():
        rows.append([name, *(format_scores(baseline.scores.get(size, np.empty(0))) for _, size in columns)])
    for kind in PAPER_ROWS:
        if any(printed := [paper_row(title, kind, *column) for column in columns]):
            rows.append([kind, *map(_text, printed)])
    names = [f"{probe}, {size_name(size)}" for probe, size in columns]
    return Table(f"{measure}, %", ["layer", *names], rows)


def _text(score: PaperScore | None) -> str:
    return "" if score is None else str(score)


def class_table(table: ScoreTable, dataset: TransferDataset) -> Table:
    """Return the score of each class for the layer of each probe that is best on training images, and Table 6.

    Args:
        table: scores of the fits.
        dataset: the images.
    """
    names, size = dataset.class_names, table.size
    keys = [table.chosen(probe) for probe in table.probes if table.has_probe(probe, size)]
    columns = {f"{key.layer}, {key.probe}": table.by_class(*key) for key in keys}
    first, own = next(iter(columns.values())), list(columns)
    columns |= paper_classes(dataset.title, names)
    known = np.flatnonzero(np.isfinite(first))
    order = known[np.argsort(-first[known], kind="stable")]
    every = len(order) <= MAX_CLASSES
    selected = order if every else np.concatenate([order[:EXTREME_CLASSES], order[-EXTREME_CLASSES:]])
    rows: list[list[Cell]] = [[names[k], *(f"{values[k]:.1f}" for values in columns.values())] for k in selected]
    if dataset.targets.multilabel is not None and (enough := positives(table, dataset) >= MIN_POSITIVES).any():
        means = [f"{np.nanmean(values[enough]):.1f}" for values in columns.values()]
        rows.append([f"mean of the {enough.sum()} classes with {MIN_POSITIVES} test images or more", *means])
    if len(columns) > len(own):
        rows += _summary_of_systems(columns, own)
    title = "by class, %" if every else "the ten best and the ten worst classes, %"
    return Table(f"{title} ({size_name(size)})", ["class", *columns], rows)


def _summary_of_systems(columns: Mapping[str, Float[np.ndarray, " classes"]], own: Sequence[str]) -> list[list[Cell]]:
    """Return the last rows of Table 6: the mean of all classes, and the number of classes that each system wins.

    A column of ours takes the place of the paper's, as the paper's network competes with the other systems.
    """
    means = [f"{np.nanmean(columns[name]):.1f}" for name in own] + [f"{mean:.1f}" for mean in TABLE_6_MEANS]
    others = [columns[name] for name in SYSTEMS_6]
    won = [classes_won(columns[name], others[:-1]) for name in own]
    won += [classes_won(one, others[:at] + others[at + 1 :]) for at, one in enumerate(others)]
    return [["mean of all classes", *means], ["classes won", *won]]


def classes_won(own: Float[np.ndarray, " classes"], others: Sequence[Float[np.ndarray, " classes"]]) -> int:
    """Return the number of classes whose score is above that of all other systems; an unknown score wins none."""
    return int((own > np.max(others, axis=0)).sum())


def positives(table: ScoreTable, dataset: TransferDataset) -> Int64[np.ndarray, " classes"]:
    """Return the number of test images of the first fold that show each class of images with several classes."""
    multilabel = dataset.targets.multilabel
    assert multilabel is not None
    fold = min(result.point.fold for folds in table.results.values() for result in folds)
    test = dataset.split(table.size, fold)[1]
    return (multilabel[test] == 1).sum(0).numpy()
