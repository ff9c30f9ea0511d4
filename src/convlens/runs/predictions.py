"""Read what a training run predicted for its test images: labels, best classes, probabilities."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Integer

from convlens.errors import DamagedError, InputError
from convlens.io.arrays import read_arrays
from convlens.io.inside import check_inside
from convlens.metrics.ensemble import EnsembleErrors, ensemble_errors
from convlens.ops.tensor_repr import summary

OLD_SPLITS = {"train_eval": "seen"}
"""Names that splits had in run directories of version 0.1."""


@dataclass(frozen=True)
class Predictions:
    """Predictions of one network for the images of a split.

    Attributes:
        images: names of the images, [n].
        labels: the true class of each image.
        top5: the five classes of greatest probability (fewer if the data have fewer), the greatest first.
    """

    images: np.ndarray
    labels: Integer[np.ndarray, " n"]
    top5: Integer[np.ndarray, "n k"]

    __repr__ = summary

    def wrong(self, k: int = 1) -> Bool[np.ndarray, " n"]:
        """Return for each image whether its class is missing from the ``k`` <= 5 best classes."""
        return ~(self.top5[:, :k] == self.labels[:, None]).any(1)

    def same_images(self, other: "Predictions") -> bool:
        """Return whether the other predictions are for the same images, with the same labels, in the same order."""
        return np.array_equal(self.images, other.images) and np.array_equal(self.labels, other.labels)


def read_predictions(run_dir: Path, split: str = "test") -> Predictions:
    """Read ``results/<split>/predictions.npz`` of a run.

    Raises:
        InputError: the file is missing or damaged.
    """
    return Predictions(*_read(run_dir, split, "predictions", ("images", "labels", "top5")))


def read_probabilities(run_dir: Path, split: str = "test") -> Float[np.ndarray, "n classes"]:
    """Read ``results/<split>/probabilities.npz`` of a run, in single precision.

    Raises:
        InputError: the file is missing or damaged.
    """
    (probabilities,) = _read(run_dir, split, "probabilities", ("probabilities",))
    return probabilities.astype(np.float32)


def _read(run_dir: Path, split: str, kind: str, names: Sequence[str]) -> list[np.ndarray]:
    """Return the named arrays of a split's file; of the folder of version 0.1 if only that exists."""
    results = run_dir / "results"
    old = results / OLD_SPLITS.get(split, split)
    folder = old if old.exists() and not (results / split).exists() else results / split
    file = folder / f"{kind}.npz"
    check_inside(file, run_dir)
    if not file.exists():
        raise InputError(f"no {split} {kind} at {file}: give the directory of a finished training run")
    try:
        arrays = read_arrays(file)
        return [arrays[name] for name in names]
    except (OSError, DamagedError, KeyError) as error:
        reason = str(error) if isinstance(error, DamagedError) else f"{file} cannot be read ({error})"
        raise InputError(f"{reason}: give the command of the run again, which tests it") from None


def ensemble_of(run_dirs: Sequence[Path]) -> EnsembleErrors:
    """Return the test errors of several runs' networks together.

    Raises:
        InputError: no run is given, a run has no test probabilities, or two were tested on different images or classes.
    """
    if not run_dirs:
        raise InputError("no runs to average: give at least one")
    first = read_predictions(run_dirs[0])
    return ensemble_errors(_same_probabilities(run_dirs, first), first.labels)


def _same_probabilities(run_dirs: Sequence[Path], first: Predictions) -> Iterator[Float[np.ndarray, "n classes"]]:
    """Yield the test probabilities of each run after checking that images and classes are those of the first."""
    shape = None
    for run_dir in run_dirs:
        probabilities = read_probabilities(run_dir)
        shape = probabilities.shape if shape is None else shape
        if probabilities.shape != shape or not read_predictions(run_dir).same_images(first):
            raise InputError(
                f"{run_dirs[0]} and {run_dir} were tested on different images: give runs with the same data"
            )
        yield probabilities
