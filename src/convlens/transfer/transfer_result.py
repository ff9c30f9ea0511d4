"""The transfer result: tables with the paper's numbers, figures, and claims 24 to 26, from the fitted probes."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from convlens.io.claims import remove_own
from convlens.io.json_files import read_json
from convlens.stats.claims import Claim
from convlens.stats.paper_transfer import fixed_baseline
from convlens.stats.results import AnalysisResult, Number
from convlens.transfer.claims import Goal, depth_claim, heads_claim, pretraining_claim
from convlens.transfer.dataset import TransferDataset
from convlens.transfer.plots import class_figures, curve_figures
from convlens.transfer.probes.regularization import Regularization, describe_regularization
from convlens.transfer.score_table import Baseline, ScoreTable, format_scores, size_name, standard_deviation, write_csv
from convlens.transfer.tables import class_table, layer_table, positives


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

    @property
    def answer(self) -> str:
        """The score of the chosen layer and probe in words."""
        table = self.table
        chosen = table.chosen()
        return (
            f"{self.network} on {self.dataset.title}: {chosen.layer} with {chosen.probe} ({table.how_chosen(chosen)}), "
            f"{size_name(chosen.images_per_class)}: {self.measure} {format_scores(table.scores(*chosen))} %"
        )

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
            *curve_figures(table, self.baselines, folder, measure=self.measure, data=dataset.title, title=title),
            *class_figures(table, dataset, folder, num_examples),
        ]
        write_csv(table, folder / "table.csv")
        chosen = table.chosen()
        top = table.scores(*chosen)
        network = f"{self.network} with random weights" if self.untrained else self.network
        return AnalysisResult(
            analysis=folder.name,
            title=f"Transfer of each layer's features to other images: {dataset.title}",
            reproduces="Tables 4, 5 and 7, Fig 9" if dataset.targets.multilabel is None else "Table 6",
            text=(
                f"Linear classifiers on the fixed features of each layer of {network}, for {dataset.title}: "
                f"{self.measure}, mean and standard deviation over folds. "
                f"{describe_regularization(self.regularization, table.probes)}. Of the layers and probes, "
                f"{chosen.layer} with {chosen.probe} is {table.how_chosen(chosen)}; no test image has a part in that."
            ),
            numbers=[
                Number(
                    f"{chosen.layer}, {chosen.probe}, {size_name(chosen.images_per_class)}",
                    float(top.mean()),
                    "%",
                    standard_deviation(top),
                ),
                Number("classes", len(dataset.class_names)),
            ],
            figures=figures,
            tables=[layer_table(table, dataset.title, self.measure, self.baselines), class_table(table, dataset)],
            claims=transfer_claims(self),
        )


def transfer_claims(report: TransferReport) -> list[Claim]:
    """Return claims 24 to 26, as far as there are scores to decide them; each at most once, none of random weights.

    The layer and the probe of claims 24 and 26 are those that are best on training images (`ScoreTable.chosen`); the
    layers of claim 25 are all that were fitted, with the first probe, which is the SVM of Table 7 if it was fitted.
    """
    if report.untrained:
        return []
    claims = [_pretraining_claim(report), _depth_claim(report), _heads_claim(report)]
    return [claim for claim in claims if claim is not None]


def _depth_claim(report: TransferReport) -> Claim | None:
    table, probe = report.table, report.table.probes[0]
    by_weights = {}
    for weights in table.weights:
        known = [layer for layer in table.layers if table.has(weights, layer, probe, table.size)]
        by_weights[weights] = {layer: table.by_class(weights, layer, probe, table.size) for layer in known}
    scores, *controls = by_weights.values()
    if len(scores) < 2:
        return None
    about = f"{report.dataset.title}, {size_name(table.size)}, {probe}"
    return depth_claim(scores, about, controls[0] if controls else None)


def _pretraining_claim(report: TransferReport) -> Claim | None:
    """Decide claim 24 against the first baseline that was trained on the images alone."""
    table, chosen = report.table, report.table.chosen()
    own = {size: table.by_class(*chosen[:3], size) for size in table.sizes if table.has(*chosen[:3], size)}
    for name, baseline in report.baselines.items():
        if baseline.from_scratch and set(own) & set(baseline.per_class):
            goal = fixed_baseline(report.dataset.title)
            about = f"{report.dataset.title}, {chosen.layer}, {chosen.probe} ({table.how_chosen(chosen)})"
            return pretraining_claim(own, baseline.per_class, name, about, None if goal is None else Goal(*goal))
    return None


def _heads_claim(report: TransferReport) -> Claim | None:
    table, multilabel = report.table, report.dataset.targets.multilabel
    if multilabel is None or not table.has_probe("softmax", table.size):
        return None
    chosen = table.chosen("softmax")  # the best for the softmax, so that the choice is not in favour of the claim
    if not table.has(*chosen[:2], "sigmoid", table.size):
        return None
    sigmoid = table.by_class(*chosen[:2], "sigmoid", table.size)
    present = (multilabel == 1).numpy()
    labels_per_image = np.array(
        [present[present[:, k]].sum(1).mean() if present[:, k].any() else 0 for k in range(len(sigmoid))]
    )
    about = f"{report.dataset.title}, {size_name(table.size)}, {chosen.layer} ({table.how_chosen(chosen)})"
    return heads_claim(sigmoid, table.by_class(*chosen), labels_per_image, about, positives(table, report.dataset))
