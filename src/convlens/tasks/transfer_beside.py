"""Training runs on the same data, beside probes: from scratch, or fine-tuned (Tables 4 and 5)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from omegaconf import OmegaConf

from convlens.errors import InputError


@dataclass(frozen=True)
class Beside:
    """How good trained networks are on their test images, in percent, by the number of training images per class.

    Attributes:
        scores: the mean accuracy of the classes, of each run (such as one for each fold).
        per_class: the accuracies of the classes, means over the runs.
    """

    scores: dict[int, np.ndarray]
    per_class: dict[int, np.ndarray]


def runs_of(directories: Sequence[str] | str, classes: Sequence[str]) -> Beside:
    """The runs of one name, together.

    Raises:
        InputError: one of them has no test predictions, or was trained on other classes.
    """
    paths = [directories] if isinstance(directories, str) else directories
    found: dict[int, list[np.ndarray]] = {}
    for path in paths:
        size, per_class = accuracy_of(Path(path), classes)
        found.setdefault(size, []).append(per_class)
    return Beside(
        {size: np.array([float(np.nanmean(one)) for one in values]) for size, values in found.items()},
        {size: np.nanmean(values, axis=0) for size, values in found.items()},
    )


def accuracy_of(run_dir: Path, classes: Sequence[str]) -> tuple[int, np.ndarray]:
    """Training images per class and the accuracy of each class, from a run's test predictions.

    Raises:
        InputError: it has none, or was trained on other classes.
    """
    file = run_dir / "results" / "test" / "predictions.npz"
    if not file.exists():
        raise InputError(f"task.beside: no test predictions at {file}: give directories of finished training runs")
    arrays = np.load(file)
    labels, first = arrays["labels"], arrays["top5"][:, 0]
    config = OmegaConf.load(run_dir / "config.yaml")
    size = OmegaConf.select(config, "data.source.train_per_class")
    if labels.max() >= len(classes) or size is None:
        raise InputError(f"task.beside: {run_dir} was trained on other data: give runs with the same data")
    counts = np.bincount(labels, minlength=len(classes))
    right = np.bincount(labels[first == labels], minlength=len(classes))
    per_class = np.divide(100 * right, counts, out=np.full(len(classes), np.nan), where=counts > 0)
    return int(size), per_class
