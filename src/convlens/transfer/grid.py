"""All layers, folds, training sizes and probes, with what they share computed once (paper, Tables 4 to 7, Fig 9)."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from convlens.transfer.probes.design import DesignMatrix
from convlens.transfer.probes.fit import Linear, fit
from convlens.transfer.probes.normalize import Space
from convlens.transfer.targets import Metrics, Targets

START_C = {"svm": 10.0, "softmax": 100.0, "sigmoid": 100.0}
"""Where the search of C begins, and what is used where there is too little to search with: near the best for vectors of
length 1, for others less by their mean squared length, to a power of ten."""
GAIN = 0.5
"""Points that another C must gain to be taken: about the standard error of the score on 3,000 images. Softmax gets a
little better up to very large C, which take very long."""
FACTOR = 10.0
BOUNDS = (1e-12, 1e4)
"""How far from there it goes, as factors."""
ROUGH = 1e-3
"""Tolerance of the fits that only choose C."""
MOST_SHARED = 12_000
"""Images whose inner products are kept for all folds at once: 1.2 GB."""

Split = Callable[[int | None, int], tuple[Int64[Tensor, " n"], Int64[Tensor, " m"]]]


class Cell(NamedTuple):
    """One number of the table; ``images_per_class`` None is all training images."""

    layer: str
    probe: str
    images_per_class: int | None
    fold: int


@dataclass(frozen=True)
class Outcome:
    """A fitted probe of a cell, tested.

    Attributes:
        cell: what was fitted.
        c: with which C.
        tried: score of each C that was tried on parts of the training images, where it was searched.
        scored: of the test images.
        train: number of training images.
        test: the test images.
        seconds: of the search of C and of the fit.
    """

    cell: Cell
    c: float
    tried: dict[float, float]
    scored: Metrics
    train: int
    test: Int64[Tensor, " m"]
    seconds: float


class Inner(NamedTuple):
    """A part of the training images that is tested by a fit to the others, to search C.

    Attributes:
        known: those that are fitted to.
        asked: the part, for the probes that were fitted.
        rows: numbers of those that are fitted to.
        held: numbers of the part.
    """

    known: DesignMatrix
    asked: Float[Tensor, "m columns"]
    rows: Int64[Tensor, " n"]
    held: Int64[Tensor, " m"]


@dataclass(frozen=True)
class Setting:
    """How the probes are fitted.

    Attributes:
        normalise: see ``Space``.
        c: C of all probes, or of some by their names; None, and for the others, searches it on the training images by
            cross-validation.
        inner_folds: parts of the training images that take turns in that.
    """

    normalise: str = "l2"
    c: float | Mapping[str, float] | None = None
    inner_folds: int = 3

    def given(self, probe: str) -> float | None:
        """C of a probe, where it is not to be searched."""
        return self.c.get(probe) if isinstance(self.c, Mapping) else self.c


def sweep(
    read: Callable[[str], Float[Tensor, "n d"]],
    truth: Targets,
    split: Split,
    cells: Iterable[Cell],
    setting: Setting,
) -> Iterator[Outcome]:
    """Fit and test a probe for each cell, those of a layer together.

    Args:
        read: gives a layer's features of all images.
        truth: what the images show.
        split: gives training and test images for a number of training images per class and a fold.
        cells: what to fit; in any order, results come layer by layer, fold by fold.
        setting: how.
    """
    wanted = list(dict.fromkeys(cells))
    for layer in dict.fromkeys(cell.layer for cell in wanted):
        own = [cell for cell in wanted if cell.layer == layer]
        yield from _Layer(read(layer), truth, split, setting, own).outcomes()


@dataclass
class _Layer:
    """The cells of one layer."""

    features: Tensor
    truth: Targets
    split: Split
    setting: Setting
    cells: Sequence[Cell]
    _shared: Space | None = field(default=None, init=False)

    def outcomes(self) -> Iterator[Outcome]:
        """Fold by fold, the largest number of training images first."""
        for fold in dict.fromkeys(cell.fold for cell in self.cells):
            own = [cell for cell in self.cells if cell.fold == fold]
            sizes = sorted({cell.images_per_class for cell in own}, key=lambda k: -1e18 if k is None else -k)
            splits = {size: self.split(size, fold) for size in sizes}
            groups = [[size] for size in sizes] if self.setting.normalise == "standardise" else [sizes]
            for group in groups:
                yield from self._group([cell for cell in own if cell.images_per_class in group], splits, group)

    def _group(self, cells: Sequence[Cell], splits: dict, sizes: Sequence[int | None]) -> Iterator[Outcome]:
        """Cells that share a space, those of most training images first."""
        train = splits[sizes[0]][0]
        used = torch.cat([rows for size in sizes for rows in splits[size]]).unique()
        space = self._space(used, train)
        for size in sizes:
            rows, test = splits[size]
            known, asked = space.known(rows), space.asked(test, rows)
            inner: list[Inner] | None = None
            for cell in (cell for cell in cells if cell.images_per_class == size):
                start = time.monotonic()
                tried: dict[float, float] = {}
                c = self.setting.given(cell.probe)
                if c is None:
                    inner = self._inner(space, rows) if inner is None else inner
                    c, tried = self._choose(START_C[cell.probe] / _power_of_ten(known, cell.probe), cell.probe, inner)
                probe = fit(cell.probe, known, self.truth.wanted(cell.probe, rows), c)
                scored = self.truth.score(cell.probe, probe.scores(asked), test)
                yield Outcome(cell, c, tried, scored, len(rows), test, time.monotonic() - start)

    def _space(self, used: Tensor, train: Tensor) -> Space:
        """The space of a fold, or of all folds where their images are few enough."""
        if self.setting.normalise == "standardise":
            return Space(self.features, used, "standardise", train, len(train))
        if self._shared is None or len(self.features) > MOST_SHARED:
            every = torch.arange(len(self.features)) if len(self.features) <= MOST_SHARED else used
            self._shared = Space(self.features, every, self.setting.normalise, train, len(train))
        return self._shared

    def _inner(self, space: Space, rows: Tensor) -> list["Inner"]:
        """The parts of the training images, each tested by a fit to the others."""
        rank = _ranks(self.truth.labels[rows])
        count = min(self.setting.inner_folds, int(rank.max()) + 1)
        if count < 2:
            return []
        found = []
        for part in range(count):
            out = rank % count == part
            kept, held = rows[~out], rows[out]
            found.append(Inner(space.known(kept), space.asked(held, kept), kept, held))
        return found

    def _choose(self, start: float, probe: str, inner: Sequence["Inner"]) -> tuple[float, dict]:
        """C with the best mean score of the parts: up or down from the start as long as it gets better."""
        if not inner:
            return start, {}
        last: list[Linear | None] = [None] * len(inner)
        tried: dict[float, float] = {}

        def attempt(c: float) -> float:
            if c not in tried:
                scores = []
                for number, part in enumerate(inner):
                    wanted = self.truth.wanted(probe, part.rows)
                    found = last[number] = fit(probe, part.known, wanted, c, start=last[number], tolerance=ROUGH)
                    scores.append(self.truth.score(probe, found.scores(part.asked), part.held).score)
                tried[c] = sum(scores) / len(scores)
            return tried[c]

        best = start
        attempt(best)
        for factor in (1 / FACTOR, FACTOR):
            while BOUNDS[0] <= best * factor / start <= BOUNDS[1] and attempt(best * factor) > attempt(best) + GAIN:
                best *= factor
        return best, tried


def _power_of_ten(known: DesignMatrix, probe: str) -> float:
    """That nearest to the mean squared length of the features, without their mean where the bias takes that up."""
    length = (known.length if probe == "svm" else known.spread) / len(known)
    return 10.0 ** round(math.log10(max(length, 1e-30)))


def _ranks(labels: Int64[Tensor, " n"]) -> Int64[Tensor, " n"]:
    """How many images of the same class come before each."""
    order = labels.argsort(stable=True)
    counts = torch.bincount(labels)
    first = (counts.cumsum(0) - counts)[labels[order]]
    ranks = torch.empty_like(labels)
    ranks[order] = torch.arange(len(labels)) - first
    return ranks
