"""Test scores of training runs as baselines of transfer: trained from scratch or fine-tuned (Tables 4 and 5)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from omegaconf import DictConfig, OmegaConf

from convlens.data import Protocol
from convlens.errors import InputError
from convlens.metrics.class_accuracy import mean_class_accuracy
from convlens.runs.predictions import read_predictions, read_probabilities
from convlens.runs.subject import instantiate
from convlens.runs.trust import trusted_config
from convlens.transfer.score_table import Baseline
from convlens.transfer.targets import Targets


def read_baseline(
    run_dirs: Sequence[str] | str, targets: Targets, protocol: Protocol, trust: bool | Sequence[str] = False
) -> Baseline:
    """Return the scores of several runs, such as one for each fold, by images per class.

    Args:
        run_dirs: directories of finished training runs.
        targets: classes of the images of the protocol.
        protocol: the data set.

    Raises:
        InputError: a directory is not a finished run, or was trained on other classes or tested on other images.
    """
    found: dict[int | None, list[np.ndarray]] = {}
    paths = [run_dirs] if isinstance(run_dirs, str) else run_dirs
    for run_dir in paths:
        size, per_class = read_class_scores(Path(run_dir), targets, protocol, trust)
        found.setdefault(size, []).append(per_class)
    return Baseline(
        {size: np.array([float(np.nanmean(one)) for one in values]) for size, values in found.items()},
        {size: np.nanmean(values, axis=0) for size, values in found.items()},
        not any(_pretrained(trusted_config(Path(run_dir), trust)) for run_dir in paths),
    )


def _pretrained(config: DictConfig) -> bool:
    """Return whether a run's training began with weights of another one, or of the network's own package."""
    return any(OmegaConf.select(config, key) for key in ("model.pretrained", "model.weights", "model.net.weights"))


def read_class_scores(
    run_dir: Path, targets: Targets, protocol: Protocol, trust: bool | Sequence[str] = False
) -> tuple[int | None, Float[np.ndarray, " classes"]]:
    """Return a run's training images per class (validation included) and the test score of each class in percent.

    Raises:
        InputError: it is not a finished run, or was trained on other classes or tested on other images.
    """
    names = protocol.class_names
    config = trusted_config(run_dir, trust)
    predictions = read_predictions(run_dir)
    theirs = instantiate(config.data).class_names
    if tuple(theirs) != tuple(names):
        raise InputError(
            f"task.baselines: {run_dir} was trained on {len(theirs)} classes ({theirs[0]}, ...), the data have "
            f"{len(names)} ({names[0]}, ...): give runs with the same data"
        )
    size = OmegaConf.select(config, "data.source.train_per_class")
    if targets.multilabel is None:
        labels, best = (torch.from_numpy(a.astype(np.int64)) for a in (predictions.labels, predictions.top5[:, 0]))
        return size, mean_class_accuracy(best, labels, len(names)).per_class.numpy()
    images = predictions.images.tolist()
    row_of = {name: row for row, name in enumerate(protocol.names)}
    if unknown := [name for name in images if name not in row_of]:
        raise InputError(
            f"task.baselines: {run_dir} was tested on {unknown[0]}, which is not among the data: give runs with the "
            "same data"
        )
    scores = torch.from_numpy(read_probabilities(run_dir)).clamp_min(1e-12).log()
    rows = torch.tensor([row_of[name] for name in images])
    return size, targets.metrics("softmax", scores, rows).per_class.numpy()
