"""Tables, curves and claims of ``task=transfer``, from the fitted cells."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from convlens.io.atomic import write_json
from convlens.runs.baselines import Baseline
from convlens.runs.subject import RANDOM_WEIGHTS, LoadedNetwork
from convlens.stats.paper_transfer import PAPER_ROWS, paper_classes, paper_row, paper_score
from convlens.transfer.claims import ENOUGH, depth_claim, heads_claim, pretraining_claim
from convlens.transfer.fit_cache import FitCache
from convlens.transfer.plots import class_figures, curve_figures
from convlens.transfer.probes.regularization import C, c_shown
from convlens.transfer.score_table import ScoreTable, shown, size_name, spread, write_csv


def write_result(
    subject: LoadedNetwork, kept: Mapping[str, FitCache], folder: Path, others: Mapping[str, Baseline],
    c: C, drawn: int, command: str,
) -> None:  # fmt: skip
    """All that the report shows, and the table as csv."""
    found = ScoreTable(kept, [name for name, _ in subject.net.named_modules()])
    protocol = subject.data.protocol
    several = protocol.targets is not None
    measure = "mean average precision" if several else "mean accuracy of the classes"
    for earlier in folder.glob("*.png"):  # what this result does not show
        earlier.unlink()
    figures = curve_figures(subject, found, others, folder, measure) + class_figures(subject, found, folder, drawn)
    claims = transfer_claims(subject, found, others)
    network = f"{subject.name} with random weights" if subject.weights == RANDOM_WEIGHTS else subject.name
    write_csv(found, folder / "table.csv")
    best = found.best()
    top = found.scores(*best)
    write_json(
        folder / "result.json",
        {
            "analysis": folder.name,
            "title": f"How good are the layers' features for other images: {protocol.title}",
            "reproduces": "Table 6" if several else "Tables 4, 5 and 7, Fig 9",
            "order": 70,
            "text": (
                f"Linear classifiers on the features of each layer of {network}, fixed, for {protocol.title}: "
                f"{measure}, the mean and standard deviation over folds. {c_shown(c, found.probes)}."
            ),
            "numbers": [
                {"name": f"best: {best[1]}, {best[2]}, {size_name(best[3])}", "value": float(top.mean()), "unit": "%",
                 "spread": spread(top)},
                {"name": "classes", "value": len(protocol.class_names)},
            ],
            "figures": figures,
            "tables": [layer_table(subject, found, others, measure), *class_tables(subject, found)],
            "claims": [claim.as_json() for claim in claims],
            "command": command,
        },
    )  # fmt: skip


def layer_table(
    subject: LoadedNetwork, found: ScoreTable, others: Mapping[str, Baseline], measure: str
) -> dict[str, Any]:
    """A row for each layer, a column for each probe and number of images."""
    columns = [(probe, size) for probe in found.probes for size in found.sizes]
    names = [f"{probe}, {size_name(size)}" for probe, size in columns]
    title = subject.data.protocol.title
    rows: list[list[Any]] = []
    for weights in found.weights:
        for layer in found.layers:
            name = layer if weights == found.weights[0] else f"{layer}, {weights}"
            rows.append([name, *(shown(found.scores(weights, layer, *column)) for column in columns)])
            printed = [paper_score(title, layer, *column) for column in columns]
            if weights == found.weights[0] and any(printed):
                rows.append([f"{layer}, paper", *printed])
    for name, other in others.items():
        rows.append([name, *(shown(other.scores.get(size, np.empty(0))) for _, size in columns)])
    for kind in PAPER_ROWS:
        if any(printed := [paper_row(title, kind, *column) for column in columns]):
            rows.append([f"{kind}, paper", *printed])
    return {"title": f"{measure}, %", "columns": ["layer", *names], "rows": rows}


def class_tables(subject: LoadedNetwork, found: ScoreTable) -> list[dict[str, Any]]:
    """Per class, the score of the best layer of each probe with the most images."""
    names, size, weights = subject.data.protocol.class_names, found.size, found.weights[0]
    best = {
        probe: max(found.layers, key=lambda layer: found.mean(weights, layer, probe, size)) for probe in found.probes
    }
    columns = {
        f"{layer}, {probe}": found.by_class(weights, layer, probe, size)
        for probe, layer in best.items()
        if (weights, layer, probe, size) in found.found
    }
    first = next(iter(columns.values()))
    if (paper := paper_classes(subject.data.protocol.title, names)) is not None:
        columns["softmax, paper"] = paper
    known = np.flatnonzero(np.isfinite(first))
    order = known[np.argsort(-first[known], kind="stable")]
    some = order if len(order) <= 24 else np.concatenate([order[:10], order[-10:]])
    rows = [[names[k], *(f"{values[k]:.1f}" for values in columns.values())] for k in some]
    if subject.data.protocol.targets is not None and (enough := positives(subject, found) >= ENOUGH).any():
        means = [f"{np.nanmean(values[enough]):.1f}" for values in columns.values()]
        rows.append([f"mean of the {enough.sum()} classes with {ENOUGH} test images or more", *means])
    title = "by class, %" if len(some) == len(order) else "the ten best and the ten worst classes, %"
    return [{"title": f"{title} ({size_name(size)})", "columns": ["class", *columns], "rows": rows}]


def transfer_claims(subject: LoadedNetwork, found: ScoreTable, others: Mapping[str, Baseline]) -> list[Any]:
    """Claims 24 to 26, as far as there is something to decide them with."""
    weights, size, probe = found.weights[0], found.size, found.probes[0]
    protocol = subject.data.protocol
    about = f"{protocol.title}, {size_name(size)}"
    claims = []
    known = [layer for layer in found.layers if (weights, layer, probe, size) in found.found]
    if len(known) > 1:
        scores = {layer: found.by_class(weights, layer, probe, size) for layer in known}
        claims.append(depth_claim(scores, f"{about}, {probe}"))
    layer, own_probe = found.best()[1:3]
    numbers = [one for one in found.sizes if (weights, layer, own_probe, one) in found.found]
    own = {one: found.by_class(weights, layer, own_probe, one) for one in numbers}
    for name, other in others.items():
        if set(own) & set(other.per_class):
            claims.append(pretraining_claim(own, other.per_class, name, f"{protocol.title}, {layer}, {own_probe}"))
    both = all((weights, layer, head, size) in found.found for head in ("sigmoid", "softmax"))
    if protocol.targets is not None and both:
        heads = [found.by_class(weights, layer, head, size) for head in ("sigmoid", "softmax")]
        present = protocol.targets == 1
        crowd = np.array(
            [present[present[:, k]].sum(1).mean() if present[:, k].any() else 0 for k in range(len(heads[0]))]
        )
        claims.append(heads_claim(heads[0], heads[1], crowd, f"{about}, {layer}", positives(subject, found)))
    return claims


def positives(subject: LoadedNetwork, found: ScoreTable) -> np.ndarray:
    """How many test images of the first fold show each class."""
    protocol = subject.data.protocol
    assert protocol.targets is not None
    fold = min(fitted.cell.fold for values in found.found.values() for fitted in values)
    return (protocol.targets[protocol.split(found.size, fold)[1]] == 1).sum(0)
