"""Training runs on the same data, beside probes: from scratch, or fine-tuned (Tables 4 and 5)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from convlens.data import Protocol
from convlens.errors import InputError
from convlens.metrics.class_accuracy import mean_class_accuracy
from convlens.runs.subject import instantiate
from convlens.transfer.targets import Targets


@dataclass(frozen=True)
class Baseline:
    """How good trained networks are on their test images, in percent, by the number of training images per class.

    Attributes:
        scores: the mean accuracy of the classes (of images of several classes the mean average precision), of each run
            (such as one for each fold); None is all training images.
        per_class: the same of each class, means over the runs.
    """

    scores: dict[int | None, np.ndarray]
    per_class: dict[int | None, np.ndarray]


def runs_of(directories: Sequence[str] | str, truth: Targets, protocol: Protocol) -> Baseline:
    """The runs of one name, together.

    Raises:
        InputError: one of them has no test predictions, or was trained on other classes or tested on other images.
    """
    paths = [directories] if isinstance(directories, str) else directories
    found: dict[int | None, list[np.ndarray]] = {}
    for path in paths:
        size, per_class = score_of(Path(path), truth, protocol)
        found.setdefault(size, []).append(per_class)
    return Baseline(
        {size: np.array([float(np.nanmean(one)) for one in values]) for size, values in found.items()},
        {size: np.nanmean(values, axis=0) for size, values in found.items()},
    )


def score_of(run_dir: Path, truth: Targets, protocol: Protocol) -> tuple[int | None, np.ndarray]:
    """Training images per class (those that validate among them) and how good each class is in the test.

    Raises:
        InputError: the run has no test predictions, or was trained on other classes or tested on other images.
    """
    classes = protocol.class_names
    file, config_file = run_dir / "results" / "test" / "predictions.npz", run_dir / "config.yaml"
    if not file.exists() or not config_file.exists():
        raise InputError(f"task.beside: no test predictions at {file}: give directories of finished training runs")
    config: DictConfig = OmegaConf.load(config_file)  # type: ignore[assignment]
    theirs = instantiate(config.data).class_names
    if tuple(theirs) != tuple(classes):
        raise InputError(
            f"task.beside: {run_dir} was trained on {len(theirs)} classes ({theirs[0]}, ...), the data have "
            f"{len(classes)} ({classes[0]}, ...): give runs with the same data"
        )
    size = OmegaConf.select(config, "data.source.train_per_class")
    arrays = np.load(file)
    if truth.targets is None:
        labels, best = (torch.from_numpy(one.astype(np.int64)) for one in (arrays["labels"], arrays["top5"][:, 0]))
        return size, mean_class_accuracy(best, labels, len(classes)).per_class.numpy()
    row_of = {name: row for row, name in enumerate(protocol.names)}
    if strange := [name for name in arrays["images"].tolist() if name not in row_of]:
        raise InputError(
            f"task.beside: {run_dir} was tested on {strange[0]}, which the data do not have: give its data"
        )
    with np.load(file.with_name("probabilities.npz")) as kept:
        scores = torch.from_numpy(kept["probabilities"].astype(np.float32)).clamp_min(1e-12).log()
    rows = torch.tensor([row_of[name] for name in arrays["images"].tolist()])
    return size, truth.score("softmax", scores, rows).per_class.numpy()
