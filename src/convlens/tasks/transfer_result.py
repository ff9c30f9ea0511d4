"""Tables, curves and claims of ``task=transfer``, from the fitted cells."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from convlens.analysis.transfer_claims import depth_claim, heads_claim, pretraining_claim
from convlens.figures.files import save_png
from convlens.figures.transfer import Line, class_examples, confusion_matrix, layer_curves, size_curves
from convlens.files import write_bytes, write_json
from convlens.runs import Subject
from convlens.tasks.transfer_beside import Beside, accuracy_of
from convlens.tasks.transfer_cells import Cells, Fitted
from convlens.tasks.transfer_paper import paper_score, paper_scratch
from convlens.transfer.sweep import Cell

Key = tuple[str, str, str, int | None]
"""Weights, layer, probe, images per class."""


class Collected:
    """All folds of each cell, by weights, layer, probe and images per class."""

    def __init__(self, kept: Mapping[str, Cells], wanted: Sequence[Cell]) -> None:
        self.found: dict[Key, list[Fitted]] = {}
        for weights, cells in kept.items():
            for cell in wanted:
                if fitted := cells.get(cell):
                    key = (weights, cell.layer, cell.probe, cell.images_per_class)
                    self.found.setdefault(key, []).append(fitted)
        self.weights, self.layers, self.probes = (
            list(dict.fromkeys(str(key[i]) for key in self.found)) for i in range(3)
        )
        self.sizes = sorted({key[3] for key in self.found}, key=lambda size: float("inf") if size is None else size)

    def scores(self, *key: Any) -> np.ndarray:
        """One score for each fold, in percent."""
        return np.array([fitted.score for fitted in self.found.get(key, [])])

    def by_class(self, *key: Any) -> np.ndarray:
        """The score of each class, the mean over folds."""
        rows = np.array([fitted.per_class for fitted in self.found[key]])
        known = np.isfinite(rows)
        total = np.where(known, rows, 0).sum(0)
        return np.divide(total, known.sum(0), out=np.full(rows.shape[1], np.nan), where=known.any(0))

    def best(self) -> Key:
        """The trained network's best layer and probe with the most images."""
        own = [key for key in self.found if key[0] == self.weights[0] and key[3] == self.sizes[-1]]
        return max(own, key=lambda key: self.scores(*key).mean())


def write_result(
    subject: Subject, kept: Mapping[str, Cells], wanted: Sequence[Cell], folder: Path, beside: Mapping[str, str],
    drawn: int, command: str,
) -> None:  # fmt: skip
    """All that the report shows, and the table as csv."""
    found = Collected(kept, wanted)
    others = {name: accuracy_of(Path(directory), subject.data.class_names) for name, directory in beside.items()}
    protocol = subject.data.protocol
    several = protocol.targets is not None
    measure = "mean average precision" if several else "mean accuracy of the classes"
    figures = _curves(subject, found, others, folder, measure)
    if not several:
        figures += _classes(subject, found, folder, drawn)
    claims = _claims(subject, found, others)
    _write_csv(found, folder / "table.csv")
    best = found.best()
    write_json(
        folder / "result.json",
        {
            "analysis": "transfer",
            "title": "How good are the layers' features for other images?",
            "reproduces": "Table 6" if several else "Tables 4, 5 and 7, Fig 9",
            "order": 70,
            "text": (
                f"Linear classifiers on the features of each layer of {subject.name}, fixed, for {protocol.title}: "
                f"{measure}, the mean and standard deviation over folds. C is searched on the training images alone."
            ),
            "numbers": [
                {"name": f"best: {best[1]}, {best[2]}, {_size(best[3])}", "value": float(found.scores(*best).mean()),
                 "unit": "%", "spread": float(found.scores(*best).std())},
                {"name": "classes", "value": len(protocol.class_names)},
            ],
            "figures": figures,
            "tables": [_layer_table(subject, found, others, measure), *_class_tables(subject, found)],
            "claims": [claim.as_json() for claim in claims],
            "command": command,
        },
    )  # fmt: skip


def _size(size: int | None) -> str:
    return "all training images" if size is None else f"{size} per class"


def _shown(scores: np.ndarray) -> str:
    if not len(scores):
        return ""
    return f"{scores.mean():.1f}" + (f" ± {scores.std():.1f}" if len(scores) > 1 else "")


def _layer_table(subject: Subject, found: Collected, others: Mapping[str, Beside], measure: str) -> dict[str, Any]:
    """A row for each layer, a column for each probe and number of images."""
    columns = [(probe, size) for probe in found.probes for size in found.sizes]
    names = [f"{probe}, {_size(size)}" for probe, size in columns]
    title = subject.data.protocol.title
    rows: list[list[Any]] = []
    for weights in found.weights:
        for layer in found.layers:
            name = layer if weights == found.weights[0] else f"{layer}, {weights}"
            rows.append([name, *(_shown(found.scores(weights, layer, *column)) for column in columns)])
            printed = [paper_score(title, layer, *column) for column in columns]
            if weights == found.weights[0] and any(printed):
                rows.append([f"{layer}, paper", *printed])
    for name, other in others.items():
        rows.append([name, *(f"{other.score:.1f}" if size == other.images_per_class else "" for _, size in columns)])
    if any(scratch := [paper_scratch(title, size) for _, size in columns]):
        rows.append(["from scratch, paper", *scratch])
    return {"title": f"{measure}, %", "columns": ["layer", *names], "rows": rows}


def _curves(
    subject: Subject, found: Collected, others: Mapping[str, Beside], folder: Path, measure: str
) -> list[dict[str, Any]]:
    """Scores by layer, and by number of images where there are several."""
    label = f"{measure} (%)"
    title = f"{subject.name} on {subject.data.protocol.title}"
    figures = []
    references = {name: other.score for name, other in others.items()}
    lines = []
    for weights in found.weights:
        for probe in found.probes:
            for size in (found.sizes[0], found.sizes[-1]) if len(found.sizes) > 1 else found.sizes:
                cells = [found.scores(weights, layer, probe, size) for layer in found.layers]
                lines.append(_line(f"{probe}, {_size(size)}", weights, range(len(cells)), cells))
    if len(found.layers) > 1:
        save_png(layer_curves(lines, found.layers, references, y_label=label, title=title), folder / "layers.png")
        figures.append({"file": "layers.png", "key": "layers", "caption": "the score of each layer"})
    sizes = [size for size in found.sizes if size is not None]
    if len(sizes) > 1:
        lines = [
            _line(layer, f"{probe}, {weights}" if len(found.weights) > 1 else probe, sizes,
                  [found.scores(weights, layer, probe, size) for size in sizes])
            for weights in found.weights for probe in found.probes for layer in found.layers
        ]  # fmt: skip
        save_png(size_curves(lines, references, y_label=label, title=title), folder / "sizes.png")
        figures.append({"file": "sizes.png", "key": "sizes", "caption": "the score by training images (Fig 9)"})
    return figures


def _line(group: str, kind: str, x: Sequence[int | float] | range, cells: Sequence[np.ndarray]) -> Line:
    means = [float(scores.mean()) if len(scores) else float("nan") for scores in cells]
    return Line(group, kind, list(x), means, [float(scores.std()) if len(scores) else 0.0 for scores in cells])


def _classes(subject: Subject, found: Collected, folder: Path, drawn: int) -> list[dict[str, Any]]:
    """The confusion of the best layer, and the classes that gained most and least over the first layer."""
    key = found.best()
    protocol = subject.data.protocol
    names, labels = protocol.class_names, protocol.labels
    counts = np.zeros((len(names), len(names)))
    for fitted in found.found[key]:
        np.add.at(counts, (labels[np.array(fitted.test)], np.array(fitted.predicted)), 1)
    shares = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    title = f"{key[1]}, {key[2]}, {_size(key[3])}: mean accuracy {found.scores(*key).mean():.1f} %"
    save_png(confusion_matrix(shares, names, title=title), folder / "confusion.png")
    figures = [{"file": "confusion.png", "key": "confusion", "caption": "what is taken for what by the best layer"}]
    if drawn and len(found.layers) > 1:
        order = _gains(found)
        chosen = [*order[:drawn], *order[::-1][:drawn]]
        gains = _gain(found)
        rows = [
            (f"{names[k]}\n{gains[k]:+.0f} points", _examples(subject, labels, k)) for k in chosen
        ]  # fmt: skip
        title = f"Classes that {key[1]} tells best and least over {found.layers[0]}"
        save_png(class_examples(rows, title=title, divide=drawn), folder / "classes.png")
        figures.append({"file": "classes.png", "key": "classes", "caption": "gained most, gained least"})
    return figures


def _gain(found: Collected) -> np.ndarray:
    """How many points each class is better with the best layer than with the first."""
    weights, layer, probe, size = found.best()
    return found.by_class(weights, layer, probe, size) - found.by_class(weights, found.layers[0], probe, size)


def _gains(found: Collected) -> list[int]:
    gain = _gain(found)
    known = np.flatnonzero(np.isfinite(gain))
    return known[np.argsort(-gain[known], kind="stable")].tolist()


def _examples(subject: Subject, labels: np.ndarray, label: int, count: int = 6) -> np.ndarray:
    """The first images of a class."""
    from itertools import islice

    images = []
    for row in np.flatnonzero(labels == label)[:count]:
        batch = next(islice(subject.data.pool_dataloader("centre", int(row)), 1))[0][:1]
        images.append(subject.data.to_display(batch)[0].permute(1, 2, 0).numpy())
    return np.stack(images)


def _class_tables(subject: Subject, found: Collected) -> list[dict[str, Any]]:
    """Per class, the score of the best layer of each probe with the most images."""
    names, size, weights = subject.data.protocol.class_names, found.sizes[-1], found.weights[0]
    best = {
        probe: max(found.layers, key=lambda layer: found.scores(weights, layer, probe, size).mean())
        for probe in found.probes
    }
    columns = {f"{layer}, {probe}": found.by_class(weights, layer, probe, size) for probe, layer in best.items()}
    first = next(iter(columns.values()))
    known = np.flatnonzero(np.isfinite(first))
    order = known[np.argsort(-first[known], kind="stable")]
    some = order if len(order) <= 24 else np.concatenate([order[:10], order[-10:]])
    rows = [[names[k], *(f"{values[k]:.1f}" for values in columns.values())] for k in some]
    title = "by class, %" if len(some) == len(order) else "the ten best and the ten worst classes, %"
    return [{"title": f"{title} ({_size(size)})", "columns": ["class", *columns], "rows": rows}]


def _claims(subject: Subject, found: Collected, others: Mapping[str, Beside]) -> list[Any]:
    """Claims 24 to 26, as far as there is something to decide them with."""
    weights, size, probe = found.weights[0], found.sizes[-1], found.probes[0]
    protocol = subject.data.protocol
    about = f"{protocol.title}, {_size(size)}"
    claims = []
    if len(found.layers) > 1:
        scores = {layer: found.by_class(weights, layer, probe, size) for layer in found.layers}
        claims.append(depth_claim(scores, f"{about}, {probe}"))
    numbers = [one for one in found.sizes if one is not None]
    layer, own_probe = found.best()[1:3]
    own = {one: found.by_class(weights, layer, own_probe, one) for one in numbers}
    mean: Callable[[np.ndarray], float] = lambda values: float(np.nanmean(values))  # noqa: E731
    controls: dict[str, dict[int, np.ndarray]] = {
        name: {other.images_per_class: other.per_class}
        for name, other in others.items()
        if other.images_per_class in own
    }
    if len(found.weights) > 1 and own:
        other = found.weights[1]
        best = max(found.layers, key=lambda name: found.scores(other, name, own_probe, size).mean())
        controls[f"{other} ({best})"] = {one: found.by_class(other, best, own_probe, one) for one in numbers}
    for name, control in controls.items():
        goal = max(mean(values) for values in control.values())
        fewest = next((one for one in numbers if mean(own[one]) > goal), None)
        claims.append(pretraining_claim(own, control, name, f"{about}, {layer}, {own_probe}", fewest))
    if protocol.targets is not None and {"sigmoid", "softmax"} <= set(found.probes):
        heads = [found.by_class(weights, layer, head, size) for head in ("sigmoid", "softmax")]
        present = protocol.targets == 1
        crowd = np.array(
            [present[present[:, k]].sum(1).mean() if present[:, k].any() else 0 for k in range(len(heads[0]))]
        )
        claims.append(heads_claim(heads[0], heads[1], crowd, f"{about}, {layer}", present.sum(0)))
    return claims


def _write_csv(found: Collected, path: Path) -> None:
    """A row for each cell."""
    lines = ["weights,layer,probe,images_per_class,fold,score,c,train,test,seconds"]
    for (weights, *_), folds in found.found.items():
        for one in folds:
            cell = one.cell
            size = "all" if cell.images_per_class is None else cell.images_per_class
            numbers = f"{one.score:.4f},{one.c:g},{one.train},{len(one.test)},{one.seconds}"
            lines.append(f"{weights},{cell.layer},{cell.probe},{size},{cell.fold},{numbers}")
    write_bytes(path, ("\n".join(lines) + "\n").encode())
