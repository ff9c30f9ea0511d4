"""Fitted probes as files, one for each cell of the table: what is there need not be fitted again."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convlens.io.atomic import write_json
from convlens.transfer.feature_store import names_hash
from convlens.transfer.grid import Cell, Outcome


@dataclass(frozen=True)
class ProbeResult:
    """What is kept of an outcome; scores in percent, ``per_class`` NaN where a class cannot be told."""

    cell: Cell
    score: float
    per_class: list[float]
    predicted: list[int]
    test: list[int]
    c: float
    tried: dict[str, float]
    train: int
    seconds: float


class FitCache:
    """The cells of one network; those that were made in another way or of other images do not count.

    Args:
        folder: where they lie, those made in another way beside them.
        about: how they are made.
        images: what tells the training and test images of a number of images per class and a fold, and what is to be
            said of them, apart from others; None where there are no such images.
    """

    def __init__(self, folder: Path, about: Mapping[str, Any], images: Callable[[int | None, int], str | None]) -> None:
        self._about, self._images = json.loads(json.dumps(about)), images
        self.folder = folder / names_hash([json.dumps(self._about, sort_keys=True)])[:8]

    def about(self, cell: Cell) -> dict[str, Any]:
        """How a cell is made, and of what."""
        return self._about | {"split": self._images(cell.images_per_class, cell.fold)}

    def path(self, cell: Cell) -> Path:
        """The file of a cell."""
        size = "all" if cell.images_per_class is None else cell.images_per_class
        return self.folder / f"{cell.layer}-{cell.probe}-{size}-{cell.fold}.json"

    def __contains__(self, cell: Cell) -> bool:
        return self._read(self.path(cell)) is not None

    @property
    def others(self) -> int:
        """How many cells there are that were made in another way."""
        return sum(path.parent != self.folder for path in self.folder.parent.glob("*/*.json"))

    def fitted(self) -> list[ProbeResult]:
        """All that is there, of this and of earlier commands."""
        found = [self._read(path) for path in sorted(self.folder.glob("*.json"))]
        return [one for one in found if one is not None]

    def put(self, outcome: Outcome) -> None:
        """Keep what was found."""
        per_class = [None if math.isnan(value) else value for value in outcome.scored.per_class.tolist()]
        write_json(
            self.path(outcome.cell),
            {
                "about": self.about(outcome.cell),
                "cell": list(outcome.cell),
                "score": outcome.scored.score,
                "c": outcome.c,
                "tried": {f"{c:g}": score for c, score in sorted(outcome.tried.items())},
                "train": outcome.train,
                "seconds": round(outcome.seconds, 2),
                "per_class": per_class,
                "test": outcome.test.tolist(),
                "predicted": outcome.scored.predicted.tolist(),
            },
        )

    def _read(self, path: Path) -> ProbeResult | None:
        """A cell; None where it is not there, damaged, or made in another way."""
        try:
            found = json.loads(path.read_text())
            cell = Cell(*found.pop("cell"))
            if found.pop("about") != self.about(cell):
                return None
            per_class = [float("nan") if value is None else value for value in found.pop("per_class")]
            return ProbeResult(cell=cell, per_class=per_class, **found)
        except (OSError, ValueError, KeyError, TypeError):
            return None
