"""Scores of all fits by weights, layer, probe and number of training images, next to those of the baselines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from convlens.io.atomic import write_bytes
from convlens.io.names import document_bytes
from convlens.ops.tensor_repr import summary
from convlens.transfer.fit_cache import FitCache
from convlens.transfer.probe_result import ProbeResult
from convlens.transfer.probes.fit import LOSSES


class TableKey(NamedTuple):
    """An entry of the table.

    Attributes:
        weights: ``trained``, ``untrained`` or ``random weights``.
        layer: name of the layer.
        probe: name of the probe.
        images_per_class: number of training images of each class; None is all training images.
    """

    weights: str
    layer: str
    probe: str
    images_per_class: int | None


@dataclass(frozen=True)
class Baseline:
    """Test scores of trained networks in percent, by the number of training images per class (None is all).

    Attributes:
        scores: mean accuracy of the classes (mean average precision for images of several classes) of each run, such
            as one run for each fold.
        per_class: the same for each class, averaged over the runs.
        from_scratch: whether the networks saw no other images: their training began with random weights.
    """

    scores: Mapping[int | None, Float[np.ndarray, " runs"]]
    per_class: Mapping[int | None, Float[np.ndarray, " classes"]]
    from_scratch: bool = True

    __repr__ = summary


class ScoreTable:
    """All folds of each entry.

    Attributes:
        results: results of the folds by entry.
        num_classes: number of classes.
        weights: kinds of weights, those of the network itself first.
        layers: names of layers in the order of the network.
        probes: names of probes.
        sizes: numbers of training images per class, from few to many.

    Args:
        caches: fits by weights, those of the network itself first.
        layer_order: names of all layers in the order of the network.
    """

    def __init__(self, caches: Mapping[str, FitCache], layer_order: Sequence[str]) -> None:
        self.results: dict[TableKey, list[ProbeResult]] = {}
        order = {name: number for number, name in enumerate(layer_order)}
        for weights, cache in caches.items():
            for result in sorted(cache.results(), key=lambda one: (order.get(one.point.layer, -1), one.point.fold)):
                key = TableKey(weights, *result.point[:3])
                self.results.setdefault(key, []).append(result)
        self.num_classes = len(next(iter(self.results.values()))[0].metrics.per_class)
        self.weights = list(dict.fromkeys(key.weights for key in self.results))
        self.layers = list(dict.fromkeys(key.layer for key in self.results))
        self.probes = [name for name in LOSSES if any(key.probe == name for key in self.results)]
        sizes = {key.images_per_class for key in self.results}
        self.sizes = sorted(sizes, key=lambda size: float("inf") if size is None else size)

    def has(self, weights: str, layer: str, probe: str, images_per_class: int | None) -> bool:
        """Return whether an entry has any fold."""
        return TableKey(weights, layer, probe, images_per_class) in self.results

    def has_probe(self, probe: str, images_per_class: int | None) -> bool:
        """Return whether the network itself has any fit of a probe with a number of images per class."""
        return any(self.has(self.weights[0], layer, probe, images_per_class) for layer in self.layers)

    def scores(self, weights: str, layer: str, probe: str, images_per_class: int | None) -> Float[np.ndarray, " folds"]:
        """Return the score of each fold in percent."""
        key = TableKey(weights, layer, probe, images_per_class)
        return np.array([result.metrics.score for result in self.results.get(key, [])], dtype=float)

    def by_class(
        self, weights: str, layer: str, probe: str, images_per_class: int | None
    ) -> Float[np.ndarray, " classes"]:
        """Return the score of each class, averaged over folds; NaN if no fold has a test image of it."""
        folds = self.results.get(TableKey(weights, layer, probe, images_per_class), [])
        rows = np.array([result.metrics.per_class.double().numpy() for result in folds]).reshape(-1, self.num_classes)
        known = np.isfinite(rows)
        total = np.where(known, rows, 0).sum(0)
        return np.divide(total, known.sum(0), out=np.full(rows.shape[1], np.nan), where=known.any(0))

    def mean(self, weights: str, layer: str, probe: str, images_per_class: int | None) -> float:
        """Return the mean score over folds; minus infinity if there is none."""
        scores = self.scores(weights, layer, probe, images_per_class)
        return float(scores.mean()) if len(scores) else float("-inf")

    @property
    def size(self) -> int | None:
        """Number of images per class that most layers and probes have; the largest if there are several."""
        own = [key.images_per_class for key in self.results if key.weights == self.weights[0]]
        return max(self.sizes, key=lambda size: (own.count(size), self.sizes.index(size)))

    def cv_score(self, key: TableKey) -> float:
        """Return the mean over folds of the scores on held-out training images; NaN if a fold has none."""
        return float(np.mean([result.cv_score for result in self.results[key]]))

    def chosen(self, *probes: str) -> TableKey:
        """Return the network's layer and probe that are best on training images, with `size` images per class.

        The test images have no part in the choice, so that their scores of the chosen layer and probe are not those of
        a winner. Of equal ones, and where every class has a single training image, so that nothing can be held out, it
        is the deepest layer, with softmax if there is one, as in the paper.

        Args:
            probes: names of the probes to choose among; all if none is given.
        """
        own = [
            key
            for key in self.results
            if key.weights == self.weights[0] and key.images_per_class == self.size and key.probe in (probes or LOSSES)
        ]
        known = [key for key in own if np.isfinite(self.cv_score(key))]
        return max(
            known or own,
            key=lambda key: (self.cv_score(key) if known else 0, self.layers.index(key.layer), key.probe == "softmax"),
        )

    def how_chosen(self, key: TableKey) -> str:
        """Return in words how `chosen` came to an entry."""
        score = self.cv_score(key)
        return f"chosen by {score:.1f} % on held-out training images" if np.isfinite(score) else "the deepest layer"


def size_name(size: int | None) -> str:
    """Return a number of training images in words."""
    return "all training images" if size is None else f"{size} per class"


def standard_deviation(scores: Float[np.ndarray, " folds"]) -> float:
    """Return the standard deviation over folds; 0 for a single fold."""
    return float(scores.std(ddof=1)) if len(scores) > 1 else 0.0


def format_scores(scores: Float[np.ndarray, " folds"]) -> str:
    """Return mean and standard deviation over folds as text; empty if there is no fold."""
    if not len(scores):
        return ""
    return f"{scores.mean():.1f}" + (f" ± {standard_deviation(scores):.1f}" if len(scores) > 1 else "")


def write_csv(table: ScoreTable, path: Path) -> None:
    """Write a row for each fit."""
    lines = ["weights,layer,probe,images_per_class,fold,score,c,train,test,seconds"]
    for key, folds in table.results.items():
        for result in folds:
            point = result.point
            size = "all" if point.images_per_class is None else point.images_per_class
            numbers = f"{result.metrics.score:.4f},{result.C:g},{result.num_train},{len(result.test)},{result.seconds}"
            lines.append(f"{key.weights},{point.layer},{point.probe},{size},{point.fold},{numbers}")
    write_bytes(path, document_bytes("\n".join(lines) + "\n"))
