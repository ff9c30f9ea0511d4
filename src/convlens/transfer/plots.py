"""Pictures of ``task=transfer``: curves, the confusion of the best layer, classes that gain most and least."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from convlens.figures.png import save_png
from convlens.figures.transfer import Line, class_examples, confusion_matrix, layer_curves, size_curves
from convlens.runs.baselines import Baseline
from convlens.runs.subject import LoadedNetwork
from convlens.transfer.fit_cache import ProbeResult
from convlens.transfer.score_table import ScoreTable, size_name, spread


def curve_figures(
    subject: LoadedNetwork, found: ScoreTable, others: Mapping[str, Baseline], folder: Path, measure: str
) -> list[dict[str, Any]]:
    """Scores by layer, and by number of images where there are several."""
    label = f"{measure} (%)"
    title = f"{subject.name} on {subject.data.protocol.title}"
    figures = []
    references = {
        f"{name}, {size_name(size)}": float(scores.mean())
        for name, other in others.items()
        for size, scores in other.scores.items()
    }
    lines = []
    for weights in found.weights:
        for probe in found.probes:
            for size in (found.sizes[0], found.sizes[-1]) if len(found.sizes) > 1 else found.sizes:
                cells = [found.scores(weights, layer, probe, size) for layer in found.layers]
                lines.append(_line(f"{probe}, {size_name(size)}", weights, range(len(cells)), cells))
    if len(found.layers) > 1:
        save_png(layer_curves(lines, found.layers, references, y_label=label, title=title), folder / "layers.png")
        figures.append({"file": "layers.png", "key": "layers", "caption": "the score of each layer"})
    sizes = [size for size in found.sizes if size is not None]
    if len(sizes) > 1:
        lines = [
            _line(layer, f"{probe}, {weights}" if len(found.weights) > 1 else probe, known,
                  [found.scores(weights, layer, probe, size) for size in known])
            for weights in found.weights for probe in found.probes for layer in found.layers
            if (known := [size for size in sizes if (weights, layer, probe, size) in found.found])
        ]  # fmt: skip
        save_png(size_curves(lines, references, y_label=label, title=title), folder / "sizes.png")
        figures.append({"file": "sizes.png", "key": "sizes", "caption": "the score by training images (Fig 9)"})
    return figures


def _line(group: str, kind: str, x: Sequence[int | float] | range, cells: Sequence[np.ndarray]) -> Line:
    means = [float(scores.mean()) if len(scores) else float("nan") for scores in cells]
    return Line(group, kind, list(x), means, [spread(scores) for scores in cells])


def class_figures(subject: LoadedNetwork, found: ScoreTable, folder: Path, drawn: int) -> list[dict[str, Any]]:
    """The confusion of the best layer, and the classes that gained most and least over the first layer.

    Images of several classes have no confusion.
    """
    several = subject.data.protocol.targets is not None
    return ([] if several else [_confusion(subject, found, folder)]) + _gains(subject, found, folder, drawn)


def _confusion(subject: LoadedNetwork, found: ScoreTable, folder: Path) -> dict[str, Any]:
    key, names = found.best(), subject.data.protocol.class_names
    shares = taken_for(found.found[key], subject.data.protocol.labels, len(names))
    title = f"{key[1]}, {key[2]}, {size_name(key[3])}: mean accuracy {found.scores(*key).mean():.1f} %"
    save_png(confusion_matrix(shares, names, title=title), folder / "confusion.png")
    return {"file": "confusion.png", "key": "confusion", "caption": "what is taken for what by the best layer"}


def taken_for(fitted: Sequence[ProbeResult], labels: Int[np.ndarray, " n"], classes: int) -> Float[np.ndarray, "k k"]:
    """Which share of a class's test images (a row) all folds take for which class (a column), in percent."""
    counts = np.zeros((classes, classes))
    for fold in fitted:
        np.add.at(counts, (labels[np.array(fold.test)], np.array(fold.predicted)), 1)
    return 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)


def _gains(subject: LoadedNetwork, found: ScoreTable, folder: Path, drawn: int) -> list[dict[str, Any]]:
    gains, names = gain(found), subject.data.protocol.class_names
    order = by_gain(gains)
    most = min(drawn, len(order) // 2)  # no class is in both halves
    if not most or len(found.layers) < 2:
        return []
    chosen = [*order[:most], *order[: -most - 1 : -1]]
    rows = [(f"{names[k]}\n{gains[k]:+.0f} points", _examples(subject, k)) for k in chosen]
    title = f"Classes that gain most (above) and least from {found.layers[0]} to {found.best()[1]}"
    save_png(class_examples(rows, title=title, divide=most), folder / "classes.png")
    return [{"file": "classes.png", "key": "classes", "caption": "gained most, gained least"}]


def gain(found: ScoreTable) -> np.ndarray:
    """How many points each class is better with the best layer than with the first."""
    weights, layer, probe, size = found.best()
    return found.by_class(weights, layer, probe, size) - found.by_class(weights, found.layers[0], probe, size)


def by_gain(gain: np.ndarray) -> list[int]:
    """The classes whose gain is known, the largest first."""
    known = np.flatnonzero(np.isfinite(gain))
    return known[np.argsort(-gain[known], kind="stable")].tolist()


def _examples(subject: LoadedNetwork, label: int, count: int = 6) -> np.ndarray:
    """The first images of a class."""
    protocol, pool = subject.data.protocol, subject.data.pool_dataloader().dataset
    shown = protocol.labels == label if protocol.targets is None else protocol.targets[:, label] == 1
    images = torch.stack([pool[int(row)][0] for row in np.flatnonzero(shown)[:count]])
    return subject.data.to_display(images).permute(0, 2, 3, 1).numpy()
