"""Training runs on the same data, beside probes: from scratch, or fine-tuned (Tables 4 and 5)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from convlens import runs
from convlens.errors import InputError
from convlens.metrics.class_accuracy import mean_class_accuracy


@dataclass(frozen=True)
class Beside:
    """How good trained networks are on their test images, in percent, by the number of training images per class.

    Attributes:
        scores: the mean accuracy of the classes, of each run (such as one for each fold); None is all training images.
        per_class: the accuracies of the classes, means over the runs.
    """

    scores: dict[int | None, np.ndarray]
    per_class: dict[int | None, np.ndarray]


def runs_of(directories: Sequence[str] | str, classes: Sequence[str]) -> Beside:
    """The runs of one name, together.

    Raises:
        InputError: one of them has no test predictions, or was trained on other classes.
    """
    paths = [directories] if isinstance(directories, str) else directories
    found: dict[int | None, list[np.ndarray]] = {}
    for path in paths:
        size, per_class = accuracy_of(Path(path), classes)
        found.setdefault(size, []).append(per_class)
    return Beside(
        {size: np.array([float(np.nanmean(one)) for one in values]) for size, values in found.items()},
        {size: np.nanmean(values, axis=0) for size, values in found.items()},
    )


def accuracy_of(run_dir: Path, classes: Sequence[str]) -> tuple[int | None, np.ndarray]:
    """Training images per class (those that validate among them) and the accuracy of each class in the test.

    Raises:
        InputError: the run has no test predictions, or was trained on other classes.
    """
    file, config_file = run_dir / "results" / "test" / "predictions.npz", run_dir / "config.yaml"
    if not file.exists() or not config_file.exists():
        raise InputError(f"task.beside: no test predictions at {file}: give directories of finished training runs")
    config: DictConfig = OmegaConf.load(config_file)  # type: ignore[assignment]
    theirs = runs.instantiate(config.data).class_names
    if tuple(theirs) != tuple(classes):
        raise InputError(
            f"task.beside: {run_dir} was trained on {len(theirs)} classes ({theirs[0]}, ...), the data have "
            f"{len(classes)} ({classes[0]}, ...): give runs with the same data"
        )
    arrays = np.load(file)
    labels, first = (torch.from_numpy(values.astype(np.int64)) for values in (arrays["labels"], arrays["top5"][:, 0]))
    size = OmegaConf.select(config, "data.source.train_per_class")
    return size, mean_class_accuracy(first, labels, len(classes)).per_class.numpy()
