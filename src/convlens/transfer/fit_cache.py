"""Results of fitted probes on disk, one file for each fit of the grid, so that no fit is repeated."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from convlens.io.hashing import digest_json
from convlens.io.json_files import load_json, write_json
from convlens.transfer.grid import ProbeConfig
from convlens.transfer.probe_result import GridPoint, ProbeResult
from convlens.transfer.targets import Metrics, Targets


def fit_source(features: Mapping[str, object], config: ProbeConfig, targets: Targets) -> dict[str, object]:
    """Return everything that the fits depend on, apart from the split; keys and values are those of version 0.1.

    Args:
        features: source of the features.
        config: settings of the fits.
        targets: classes of all images.
    """
    about = {
        **features,
        "normalise": "standardise" if config.normalize == "standardize" else config.normalize,
        "c": config.C,
        "inner_folds": config.cv_folds,
        "exclusive": targets.multilabel_policy,
    }
    return about if targets.multilabel is None else {**about, "average_precision": targets.average_precision}


class FitCache:
    """The fits of one network with one choice of settings; files of other settings or images are ignored.

    The keys of the files are those of version 0.1.

    Args:
        folder: parent folder, with a subfolder for each choice of settings.
        about: settings of the fits and source of the features, as plain values.
        split_digest: returns a digest of the training and test images for a number of images per class and a fold;
            None if there is no such split.
    """

    def __init__(
        self, folder: Path, about: Mapping[str, object], split_digest: Callable[[int | None, int], str | None]
    ) -> None:
        self._about: dict[str, object] = json.loads(json.dumps(about))
        self._split_digest = split_digest
        self.folder = folder / digest_json(self._about, sort_keys=True)[:8]

    def path(self, point: GridPoint) -> Path:
        """Return the file of a fit."""
        size = "all" if point.images_per_class is None else point.images_per_class
        return self.folder / f"{point.layer}-{point.probe}-{size}-{point.fold}.json"

    def __contains__(self, point: GridPoint) -> bool:
        return self._read(self.path(point)) is not None

    @property
    def num_other_settings(self) -> int:
        """Number of fits with other settings."""
        return sum(path.parent != self.folder for path in self.folder.parent.glob("*/*.json"))

    def results(self) -> list[ProbeResult]:
        """Return all fits with these settings, of this and of earlier commands."""
        found = [self._read(path) for path in sorted(self.folder.glob("*.json"))]
        return [result for result in found if result is not None]

    def put(self, result: ProbeResult) -> None:
        """Write a result."""
        per_class = [None if math.isnan(value) else value for value in result.metrics.per_class.tolist()]
        write_json(
            self.path(result.point),
            {
                "about": self._about_point(result.point),
                "cell": list(result.point),
                "score": result.metrics.score,
                "c": result.C,
                "tried": {_key(C): score for C, score in sorted(result.cv_scores.items())},
                "train": result.num_train,
                "seconds": round(result.seconds, 2),
                "per_class": per_class,
                "test": result.test.tolist(),
                "predicted": result.metrics.predicted.tolist(),
            },
        )

    def _about_point(self, point: GridPoint) -> dict[str, object]:
        """Return the settings and the images of a fit."""
        return self._about | {"split": self._split_digest(point.images_per_class, point.fold)}

    def _read(self, path: Path) -> ProbeResult | None:
        """Read a result; None if it is missing, damaged, or of other settings or images."""
        try:
            found = load_json(path)
            point = GridPoint(*found["cell"])
            if found["about"] != self._about_point(point):
                return None
            per_class = [math.nan if value is None else value for value in found["per_class"]]
            C = found["c"]
            # Version 0.1 rounded all keys to six digits, and had no score of a C that was given.
            cv_scores = {C if key == f"{C:g}" else float(key): score for key, score in found["tried"].items()}
            if C not in cv_scores and found["train"] > len(per_class):  # some class has an image to hold out
                return None
            return ProbeResult(
                point,
                C=C,
                cv_scores=cv_scores,
                metrics=Metrics(
                    found["score"],
                    torch.tensor(per_class, dtype=torch.float64),
                    torch.tensor(found["predicted"], dtype=torch.int64),
                ),
                num_train=found["train"],
                test=torch.tensor(found["test"], dtype=torch.int64),
                seconds=found["seconds"],
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None


def _key(C: float) -> str:
    """Return a C as the key of its score: as version 0.1 wrote it where that is exact."""
    return f"{C:g}" if float(f"{C:g}") == C else repr(C)
