"""Several networks as one, by the mean of their probabilities (Table 2: "5 nets", "6 nets")."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Bool

from convlens.errors import InputError


@dataclass(frozen=True)
class Averaged:
    """The test of several networks together.

    Attributes:
        wrong: which images are wrong, by how many best classes count.
        images: their names.
    """

    wrong: dict[int, Bool[np.ndarray, " images"]]
    images: np.ndarray

    @property
    def top1_error(self) -> float:
        """In percent."""
        return float(100 * self.wrong[1].mean())

    @property
    def top5_error(self) -> float:
        """In percent."""
        return float(100 * self.wrong[5].mean())


def average_runs(runs: Sequence[Path]) -> Averaged | None:
    """Average the test probabilities of finished runs; None where a run has not kept them, or tested other images."""
    try:
        return averaged(runs)
    except InputError:
        return None


def averaged(runs: Sequence[Path]) -> Averaged:
    """Average the test probabilities of finished runs.

    Raises:
        InputError: a run has none, or they were tested on different images or classes.
    """
    total = None
    for run in runs:
        folder = run / "results" / "test"
        if not (folder / "probabilities.npz").exists():
            raise InputError(f"no test probabilities in {folder}: give directories of finished training runs")
        own, own_labels, probabilities = _read(folder)
        if total is None:
            total, images, labels = probabilities, own, own_labels
        elif not np.array_equal(images, own) or total.shape != probabilities.shape:
            raise InputError(f"{runs[0]} and {run} were tested on different images: give runs with the same data")
        else:
            total = total + probabilities
    if total is None:
        raise InputError("no runs to average: give at least one")
    order = np.argsort(-total, axis=1, kind="stable")
    wrong = {k: ~(order[:, :k] == labels[:, None]).any(1) for k in (1, 5)}
    return Averaged(wrong, images)


def _read(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Names of the test images with their labels, the labels, and the probabilities."""
    try:
        with np.load(folder / "predictions.npz") as arrays, np.load(folder / "probabilities.npz") as kept:
            names = np.char.add(np.char.add(arrays["images"], " "), arrays["labels"].astype(str))
            return names, arrays["labels"], kept["probabilities"].astype(np.float32)
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise InputError(f"the test results in {folder} cannot be read ({error}): do the run anew") from None
