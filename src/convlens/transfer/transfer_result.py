"""The transfer result: tables with the paper's numbers, figures, and claims 24 to 26, from the fitted probes."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from convlens.io.claims import remove_own
from convlens.io.json_files import read_json
from convlens.io.tables import Cell
from convlens.stats.claims import Claim
from convlens.stats.paper_transfer import PAPER_ROWS, paper_classes, paper_row, paper_score
from convlens.stats.results import AnalysisResult, Number, Table
from convlens.transfer.claims import MIN_POSITIVES, depth_claim, heads_claim, pretraining_claim
from convlens.transfer.dataset import TransferDataset
from convlens.transfer.plots import class_figures, curve_figures
from convlens.transfer.probes.regularization import Regularization, describe_regularization
from convlens.transfer.score_table import (
    Baseline,
    ScoreTable,
    format_scores,
    size_name,
    standard_deviation,
    write_csv,
)

MAX_CLASSES, EXTREME_CLASSES = 24, 10
"""With more classes than the first, a table shows only so many of the best and of the worst."""


@dataclass(frozen=True)
class TransferReport:
    """Everything that the result of ``task=transfer`` is made of.

    Attributes:
        network: name of the network.
        untrained: whether its weights are random.
        dataset: the images.
        table: scores of the fits.
        baselines: scores of trained networks, by name.
        regularization: C of the probes.
    """

    network: str
    untrained: bool
    dataset: TransferDataset
    table: ScoreTable
    baselines: Mapping[str, Baseline]
    regularization: Regularization

    @property
    def measure(self) -> str:
        """Name of the score."""
        several = self.dataset.targets.multilabel is not None
        return "mean average precision" if several else "mean accuracy of the classes"

    def build(self, folder: Path, num_examples: int) -> AnalysisResult:
        """Write the figures and the table as csv, and return the result.

        Args:
            folder: folder of the result; its earlier figures are removed.
            num_examples: number of classes with example images, see `class_figures`.
        """
        table, dataset = self.table, self.dataset
        for figure in read_json(folder / "result.json").get("figures", ()):
            remove_own(folder / Path(str(figure["file"])).name)
        title = f"{self.network} on {dataset.title}"
        figures = [
            *curve_figures(table, self.baselines, folder, measure=self.measure, title=title),
            *class_figures(table, dataset, folder, num_examples),
        ]
        write_csv(table, folder / "table.csv")
        best = table.best()
        top = table.scores(*best)
        network = f"{self.network} with random weights" if self.untrained else self.network
        return AnalysisResult(
            analysis=folder.name,
            title=f"Transfer of each layer's features to other images: {dataset.title}",
            reproduces="Tables 4, 5 and 7, Fig 9" if dataset.targets.multilabel is None else "Table 6",
            text=(
                f"Linear classifiers on the fixed features of each layer of {network}, for {dataset.title}: "
                f"{self.measure}, mean and standard deviation over folds. "
                f"{describe_regularization(self.regularization, table.probes)}."
            ),
            numbers=[
                Number(
                    f"best: {best.layer}, {best.probe}, {size_name(best.images_per_class)}",
                    float(top.mean()),
                    "%",
                    standard_deviation(top),
                ),
                Number("classes", len(dataset.class_names)),
            ],
            figures=figures,
            tables=[layer_table(self), class_table(self)],
            claims=transfer_claims(self),
        )


def layer_table(report: TransferReport) -> Table:
    """Return a row for each layer, baseline and row of the paper, with a column for each probe and number of images."""
    table, title = report.table, report.dataset.title
    columns = [(probe, size) for probe in table.probes for size in table.sizes]
    rows: list[list[Cell]] = []
    for weights in table.weights:
        own = weights == table.weights[0]
        for layer in table.layers:
            name = layer if own else f"{layer}, {weights}"
            rows.append([name, *(format_scores(table.scores(weights, layer, *column)) for column in columns)])
            printed = [paper_score(title, layer, *column) for column in columns]
            if own and any(printed):
                rows.append([f"{layer}, paper", *printed])
    for name, baseline in report.baselines.items():
        rows.append([name, *(format_scores(baseline.scores.get(size, np.empty(0))) for _, size in columns)])
    for kind in PAPER_ROWS:
        if any(printed := [paper_row(title, kind, *column) for column in columns]):
            rows.append([f"{kind}, paper", *printed])
    names = [f"{probe}, {size_name(size)}" for probe, size in columns]
    return Table(f"{report.measure}, %", ["layer", *names], rows)


def class_table(report: TransferReport) -> Table:
    """Return the score of each class for the best layer of each probe, with the most common number of images."""
    table, dataset = report.table, report.dataset
    names, size, weights = dataset.class_names, table.size, table.weights[0]
    best = {
        probe: max(table.layers, key=lambda layer: table.mean(weights, layer, probe, size)) for probe in table.probes
    }
    columns = {
        f"{layer}, {probe}": table.by_class(weights, layer, probe, size)
        for probe, layer in best.items()
        if table.has(weights, layer, probe, size)
    }
    first = next(iter(columns.values()))
    if (paper := paper_classes(dataset.title, names)) is not None:
        columns["softmax, paper"] = paper
    known = np.flatnonzero(np.isfinite(first))
    order = known[np.argsort(-first[known], kind="stable")]
    every = len(order) <= MAX_CLASSES
    selected = order if every else np.concatenate([order[:EXTREME_CLASSES], order[-EXTREME_CLASSES:]])
    rows: list[list[Cell]] = [[names[k], *(f"{values[k]:.1f}" for values in columns.values())] for k in selected]
    if dataset.targets.multilabel is not None and (enough := positives(report) >= MIN_POSITIVES).any():
        means = [f"{np.nanmean(values[enough]):.1f}" for values in columns.values()]
        rows.append([f"mean of the {enough.sum()} classes with {MIN_POSITIVES} test images or more", *means])
    title = "by class, %" if every else "the ten best and the ten worst classes, %"
    return Table(f"{title} ({size_name(size)})", ["class", *columns], rows)


def transfer_claims(report: TransferReport) -> list[Claim]:
    """Return claims 24 to 26, as far as there are scores to decide them."""
    table, title = report.table, report.dataset.title
    weights, size, probe = table.weights[0], table.size, table.probes[0]
    about = f"{title}, {size_name(size)}"
    claims = []
    known = [layer for layer in table.layers if table.has(weights, layer, probe, size)]
    if len(known) > 1:
        scores = {layer: table.by_class(weights, layer, probe, size) for layer in known}
        claims.append(depth_claim(scores, f"{about}, {probe}"))
    best = table.best()
    sizes = [one for one in table.sizes if table.has(weights, best.layer, best.probe, one)]
    own = {one: table.by_class(weights, best.layer, best.probe, one) for one in sizes}
    for name, baseline in report.baselines.items():
        if set(own) & set(baseline.per_class):
            claims.append(pretraining_claim(own, baseline.per_class, name, f"{title}, {best.layer}, {best.probe}"))
    both = all(table.has(weights, best.layer, head, size) for head in ("sigmoid", "softmax"))
    if report.dataset.targets.multilabel is not None and both:
        claims.append(_heads_claim(report, f"{about}, {best.layer}"))
    return claims


def _heads_claim(report: TransferReport, about: str) -> Claim:
    table, multilabel = report.table, report.dataset.targets.multilabel
    assert multilabel is not None
    best = table.best()
    sigmoid, softmax = (table.by_class(best.weights, best.layer, head, table.size) for head in ("sigmoid", "softmax"))
    present = (multilabel == 1).numpy()
    labels_per_image = np.array(
        [present[present[:, k]].sum(1).mean() if present[:, k].any() else 0 for k in range(len(sigmoid))]
    )
    return heads_claim(sigmoid, softmax, labels_per_image, about, positives(report))


def positives(report: TransferReport) -> Int64[np.ndarray, " classes"]:
    """Return the number of test images of the first fold that show each class."""
    multilabel = report.dataset.targets.multilabel
    assert multilabel is not None
    fold = min(result.point.fold for folds in report.table.results.values() for result in folds)
    test = report.dataset.split(report.table.size, fold)[1]
    return (multilabel[test] == 1).sum(0).numpy()
