"""Training runs on the same data, beside probes: from scratch, or fine-tuned (Tables 4 and 5)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from omegaconf import OmegaConf

from convlens.errors import InputError


@dataclass(frozen=True)
class Beside:
    """How good a trained network is on its test images, in percent."""

    score: float
    per_class: np.ndarray
    images_per_class: int


def accuracy_of(run_dir: Path, classes: Sequence[str]) -> Beside:
    """The mean accuracy of the classes, from a run's test predictions.

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
    return Beside(float(np.nanmean(per_class)), per_class, int(size))
