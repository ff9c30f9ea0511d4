"""The fitted cells of ``task=transfer`` by layer, probe and number of images."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from convlens.io.atomic import write_bytes
from convlens.transfer.fit_cache import FitCache, ProbeResult
from convlens.transfer.probes.fit import LOSSES

Key = tuple[str, str, str, int | None]
"""Weights, layer, probe, images per class."""


class ScoreTable:
    """All folds of each cell, by weights, layer, probe and images per class.

    Args:
        kept: the cells by weights, those of the trained network first.
        depth: names of layers in the order of the network.
    """

    def __init__(self, kept: Mapping[str, FitCache], depth: Sequence[str]) -> None:
        self.found: dict[Key, list[ProbeResult]] = {}
        order = {name: number for number, name in enumerate(depth)}
        for weights, cells in kept.items():
            for one in sorted(cells.fitted(), key=lambda one: (order.get(one.cell.layer, -1), one.cell.fold)):
                key = (weights, one.cell.layer, one.cell.probe, one.cell.images_per_class)
                self.found.setdefault(key, []).append(one)
        self.classes = len(next(iter(self.found.values()))[0].per_class)
        self.weights, self.layers = (list(dict.fromkeys(str(key[i]) for key in self.found)) for i in (0, 1))
        self.probes = [name for name in LOSSES if any(key[2] == name for key in self.found)]
        self.sizes = sorted({key[3] for key in self.found}, key=lambda size: float("inf") if size is None else size)

    def scores(self, *key: Any) -> np.ndarray:
        """One score for each fold, in percent."""
        return np.array([fitted.score for fitted in self.found.get(key, [])])

    def by_class(self, *key: Any) -> np.ndarray:
        """The score of each class, the mean over folds."""
        rows = np.array([fitted.per_class for fitted in self.found.get(key, [])]).reshape(-1, self.classes)
        known = np.isfinite(rows)
        total = np.where(known, rows, 0).sum(0)
        return np.divide(total, known.sum(0), out=np.full(rows.shape[1], np.nan), where=known.any(0))

    def mean(self, *key: Any) -> float:
        """The mean score over folds; below all others where there is none."""
        return float(self.scores(*key).mean()) if key in self.found else float("-inf")

    @property
    def size(self) -> int | None:
        """The number of images per class that most layers and probes have; of several the largest."""
        own = [key[3] for key in self.found if key[0] == self.weights[0]]
        return max(self.sizes, key=lambda size: (own.count(size), self.sizes.index(size)))

    def best(self) -> Key:
        """The own network's best layer and probe, with the number of images that most have."""
        own = [key for key in self.found if key[0] == self.weights[0] and key[3] == self.size]
        return max(own, key=lambda key: self.mean(*key))


def size_name(size: int | None) -> str:
    """A number of training images in words."""
    return "all training images" if size is None else f"{size} per class"


def spread(scores: np.ndarray) -> float:
    """The standard deviation over folds; 0 of one."""
    return float(scores.std(ddof=1)) if len(scores) > 1 else 0.0


def shown(scores: np.ndarray) -> str:
    """Mean and standard deviation over folds."""
    if not len(scores):
        return ""
    return f"{scores.mean():.1f}" + (f" ± {spread(scores):.1f}" if len(scores) > 1 else "")


def write_csv(found: ScoreTable, path: Path) -> None:
    """A row for each cell."""
    lines = ["weights,layer,probe,images_per_class,fold,score,c,train,test,seconds"]
    for (weights, *_), folds in found.found.items():
        for one in folds:
            cell = one.cell
            size = "all" if cell.images_per_class is None else cell.images_per_class
            numbers = f"{one.score:.4f},{one.c:g},{one.train},{len(one.test)},{one.seconds}"
            lines.append(f"{weights},{cell.layer},{cell.probe},{size},{cell.fold},{numbers}")
    write_bytes(path, ("\n".join(lines) + "\n").encode())
