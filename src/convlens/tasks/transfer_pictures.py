"""Pictures of ``task=transfer``: curves, the confusion of the best layer, classes that gain most and least."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from convlens.figures.files import save_png
from convlens.figures.transfer import Line, class_examples, confusion_matrix, layer_curves, size_curves
from convlens.runs import Subject
from convlens.tasks.transfer_beside import Beside
from convlens.tasks.transfer_collected import Collected, size_name


def curve_figures(
    subject: Subject, found: Collected, others: Mapping[str, Beside], folder: Path, measure: str
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
    return Line(group, kind, list(x), means, [float(scores.std()) if len(scores) else 0.0 for scores in cells])


def class_figures(subject: Subject, found: Collected, folder: Path, drawn: int) -> list[dict[str, Any]]:
    """The confusion of the best layer, and the classes that gained most and least over the first layer."""
    key = found.best()
    protocol = subject.data.protocol
    names, labels = protocol.class_names, protocol.labels
    counts = np.zeros((len(names), len(names)))
    for fitted in found.found[key]:
        np.add.at(counts, (labels[np.array(fitted.test)], np.array(fitted.predicted)), 1)
    shares = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    title = f"{key[1]}, {key[2]}, {size_name(key[3])}: mean accuracy {found.scores(*key).mean():.1f} %"
    save_png(confusion_matrix(shares, names, title=title), folder / "confusion.png")
    figures = [{"file": "confusion.png", "key": "confusion", "caption": "what is taken for what by the best layer"}]
    gains = _gain(found)
    order = _order(gains)
    if drawn and len(found.layers) > 1 and order:
        chosen = [*order[:drawn], *order[::-1][:drawn]]
        rows = [
            (f"{names[k]}\n{gains[k]:+.0f} points", _examples(subject, labels, k)) for k in chosen
        ]  # fmt: skip
        title = f"Classes that gain most (above) and least from {found.layers[0]} to {key[1]}"
        save_png(class_examples(rows, title=title, divide=drawn), folder / "classes.png")
        figures.append({"file": "classes.png", "key": "classes", "caption": "gained most, gained least"})
    return figures


def _gain(found: Collected) -> np.ndarray:
    """How many points each class is better with the best layer than with the first."""
    weights, layer, probe, size = found.best()
    return found.by_class(weights, layer, probe, size) - found.by_class(weights, found.layers[0], probe, size)


def _order(gain: np.ndarray) -> list[int]:
    """The classes whose gain is known, the largest first."""
    known = np.flatnonzero(np.isfinite(gain))
    return known[np.argsort(-gain[known], kind="stable")].tolist()


def _examples(subject: Subject, labels: np.ndarray, label: int, count: int = 6) -> np.ndarray:
    """The first images of a class."""
    pool = subject.data.pool_dataloader().dataset
    images = torch.stack([pool[int(row)][0] for row in np.flatnonzero(labels == label)[:count]])
    return subject.data.to_display(images).permute(0, 2, 3, 1).numpy()
