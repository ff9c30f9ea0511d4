"""Fit probes for all layers, folds, sizes and kinds, and search C by cross-validation (Tables 4 to 7, Fig 9)."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from convlens.errors import InputError
from convlens.ops.callers_code import check_function, one_line
from convlens.ops.input_checks import check_choice, check_count, shown
from convlens.transfer.dataset import SplitRows
from convlens.transfer.probe_result import GridPoint, ProbeResult
from convlens.transfer.probes.checks import check_matrix, check_regularization
from convlens.transfer.probes.design import DesignMatrix
from convlens.transfer.probes.fit import LinearProbe, fit_probe
from convlens.transfer.probes.losses import LOSSES
from convlens.transfer.probes.normalize import NORMALIZATIONS, NormalizedFeatures
from convlens.transfer.probes.regularization import Regularization
from convlens.transfer.targets import Targets

START_C = {"svm": 10.0, "softmax": 100.0, "sigmoid": 100.0}
"""Start of the search of C, and its value if there are too few images to search: near the best for features of norm 1;
for others divided by their mean squared norm, rounded to a power of ten."""
MIN_GAIN = 0.5
"""Points of score that another C must gain: about the standard error of the score on 3,000 images. Softmax improves a
little up to very large C, which take very long to fit."""
FACTOR = 10.0
BOUNDS = (1e-12, 1e4)
"""Smallest and largest C of the search, as factors of its start."""
SEARCH_TOLERANCE = 1e-3
"""Tolerance of the fits that only choose C."""
MAX_SHARED_IMAGES = 12_000
"""Largest number of images whose inner products are kept for all folds at once: 1.2 GB."""


@dataclass(frozen=True)
class ProbeConfig:
    """Settings of the fits.

    Attributes:
        normalize: normalization of the features: ``l2``, ``standardize`` or ``none``.
        C: regularization constant of all probes, or of some by their names; None, and for the others, searches it by
            cross-validation on the training images.
        cv_folds: number of parts of the training images in that search; at least 2.

    Raises:
        InputError: the normalization is unknown, ``cv_folds`` is below 2, or ``C`` is not above 0.
    """

    normalize: str = "l2"
    C: Regularization = None
    cv_folds: int = 3

    def __post_init__(self) -> None:
        check_choice("normalize", self.normalize, NORMALIZATIONS)
        check_count("cv_folds", self.cv_folds, 2)
        check_regularization(self.C)

    def fixed_C(self, probe: str) -> float | None:
        """Return the given C of a probe; None if it is searched."""
        return self.C.get(probe) if isinstance(self.C, Mapping) else self.C


def fit_grid(
    read: Callable[[str], Float[Tensor, "n d"]],
    targets: Targets,
    split: SplitRows,
    points: Iterable[GridPoint],
    config: ProbeConfig,
) -> Iterator[ProbeResult]:
    """Fit and test a probe for each point of the grid.

    Args:
        read: returns a layer's features of all images.
        targets: classes of all images.
        split: returns the training and test images for a number of training images per class and a fold.
        points: fits to do, in any order; results come layer by layer, fold by fold.
        config: settings of the fits.

    Raises:
        InputError: an argument is of another kind, or a probe is unknown.
    """
    for name, value, kind in (("targets", targets, Targets), ("config", config, ProbeConfig)):
        if not isinstance(value, kind):
            raise InputError(f"{name}={shown(value)}: give {kind.__name__}")
    read, split = check_function("read", read), check_function("split", split)
    points = _checked_points(points)
    unique = list(dict.fromkeys(points))
    for layer in dict.fromkeys(point.layer for point in unique):
        own = [point for point in unique if point.layer == layer]
        features = check_matrix(f"read({layer!r})", read(layer))
        yield from _LayerGrid(features, targets, split, config, own).results()


def _checked_points(points: object) -> list[GridPoint]:
    """Return the points of a grid as a list."""
    with one_line(f"points={shown(points)} are no list"):
        found = list(points)  # type: ignore[call-overload]
    for point in found:
        if not isinstance(point, GridPoint):
            raise InputError(f"points have {shown(point)}: give GridPoints")
        check_choice("probe", point.probe, LOSSES)
    return found


class _CvPart(NamedTuple):
    """A part of the training images that scores a fit to the others, for the search of C.

    Attributes:
        design: the images that are fitted to.
        inputs: input of the probe for the images that are scored.
        train: rows of the images that are fitted to.
        held_out: rows of the images that are scored.
    """

    design: DesignMatrix
    inputs: Float[Tensor, "m columns"]
    train: Int64[Tensor, " n"]
    held_out: Int64[Tensor, " m"]


@dataclass
class _LayerGrid:
    """The fits of one layer."""

    features: Tensor
    targets: Targets
    split: SplitRows
    config: ProbeConfig
    points: Sequence[GridPoint]
    _shared: NormalizedFeatures | None = field(default=None, init=False)

    def results(self) -> Iterator[ProbeResult]:
        """Yield the results fold by fold, the largest number of training images first."""
        for fold in dict.fromkeys(point.fold for point in self.points):
            own = [point for point in self.points if point.fold == fold]
            sizes = sorted({point.images_per_class for point in own}, key=lambda k: -1e18 if k is None else -k)
            splits = {size: self.split(size, fold) for size in sizes}
            groups = [[size] for size in sizes] if self.config.normalize == "standardize" else [sizes]
            for group in groups:
                yield from self._fit_group([point for point in own if point.images_per_class in group], splits, group)

    def _fit_group(
        self,
        points: Sequence[GridPoint],
        splits: Mapping[int | None, tuple[Tensor, Tensor]],
        sizes: Sequence[int | None],
    ) -> Iterator[ProbeResult]:
        """Fit the points of a fold that share normalized features."""
        train = splits[sizes[0]][0]
        used = torch.cat([rows for size in sizes for rows in splits[size]]).unique()
        normalized = self._normalized(used, train)
        for size in sizes:
            rows, test = splits[size]
            design, inputs = normalized.design(rows), normalized.inputs(test, rows)
            parts: list[_CvPart] | None = None
            for point in (point for point in points if point.images_per_class == size):
                start = time.monotonic()
                C = self.config.fixed_C(point.probe)
                if parts is None:
                    searched = any(self.config.fixed_C(one.probe) is None for one in points)
                    parts = self._cv_parts(normalized, rows, self.config.cv_folds if searched else 1)
                if C is None:
                    start_C = START_C[point.probe] / _mean_squared_norm(design, point.probe)
                    C, cv_scores = self._search_C(start_C, point.probe, parts)
                else:  # a single part is enough to choose among layers and probes
                    cv_scores = {C: self._cv_score(point.probe, C, parts[0])} if parts else {}
                probe = fit_probe(point.probe, design, self.targets.for_probe(point.probe, rows), C)
                metrics = self.targets.metrics(point.probe, probe.scores(inputs), test)
                yield ProbeResult(point, C, cv_scores, metrics, len(rows), test, time.monotonic() - start)

    def _normalized(self, used: Tensor, train: Tensor) -> NormalizedFeatures:
        """Return the normalized features of a fold, or of all folds if the images are few enough."""
        if self.config.normalize == "standardize":
            return NormalizedFeatures(self.features, used, "standardize", train, len(train))
        if self._shared is None or len(self.features) > MAX_SHARED_IMAGES:
            rows = torch.arange(len(self.features)) if len(self.features) <= MAX_SHARED_IMAGES else used
            self._shared = NormalizedFeatures(self.features, rows, self.config.normalize, train, len(train))
        return self._shared

    def _cv_parts(self, normalized: NormalizedFeatures, rows: Tensor, most: int) -> list[_CvPart]:
        """Divide the training images into parts, stratified by class; empty if every class has a single image.

        At most ``most`` parts are made.
        """
        rank = _rank_in_class(self.targets.labels[rows])
        count = min(self.config.cv_folds, int(rank.max()) + 1)
        if count < 2:
            return []
        parts = []
        for part in range(min(count, most)):
            out = rank % count == part
            train, held_out = rows[~out], rows[out]
            parts.append(_CvPart(normalized.design(train), normalized.inputs(held_out, train), train, held_out))
        return parts

    def _search_C(self, start: float, probe: str, parts: Sequence[_CvPart]) -> tuple[float, dict[float, float]]:
        """Return C with the best mean score of the parts, moving up or down from the start while it improves."""
        if not parts:
            return start, {}
        last: dict[int, LinearProbe] = {}
        cv_scores: dict[float, float] = {}

        def score(C: float) -> float:
            if C not in cv_scores:
                cv_scores[C] = sum(self._cv_score(probe, C, part, last) for part in parts) / len(parts)
            return cv_scores[C]

        best = start
        score(best)
        for factor in (1 / FACTOR, FACTOR):
            while BOUNDS[0] <= best * factor / start <= BOUNDS[1] and score(best * factor) > score(best) + MIN_GAIN:
                best *= factor
        return best, cv_scores

    def _cv_score(self, probe: str, C: float, part: _CvPart, last: dict[int, LinearProbe] | None = None) -> float:
        """Return the score of a part's held-out images; ``last`` keeps each part's fit as the start of its next one."""
        last = {} if last is None else last
        targets = self.targets.for_probe(probe, part.train)
        start = last.get(id(part))
        last[id(part)] = fit_probe(probe, part.design, targets, C, start=start, tolerance=SEARCH_TOLERANCE)
        return self.targets.metrics(probe, last[id(part)].scores(part.inputs), part.held_out).score


def _mean_squared_norm(design: DesignMatrix, probe: str) -> float:
    """Return the mean squared norm of the features, rounded to a power of ten; centered if the bias is free."""
    squared_norm = design.squared_norm if probe == "svm" else design.centered_squared_norm
    return 10.0 ** round(math.log10(max(squared_norm / len(design), 1e-30)))


def _rank_in_class(labels: Int64[Tensor, " n"]) -> Int64[Tensor, " n"]:
    """Return for each image the number of earlier images of the same class."""
    order = labels.argsort(stable=True)
    counts = torch.bincount(labels)
    first = (counts.cumsum(0) - counts)[labels[order]]
    ranks = torch.empty_like(labels)
    ranks[order] = torch.arange(len(labels)) - first
    return ranks
