"""Fitted probes as files, one for each cell of the table: what is there need not be fitted again."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convlens.files import write_json
from convlens.transfer.sweep import Cell, Outcome


@dataclass(frozen=True)
class Fitted:
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


class Cells:
    """The cells of one network in a folder; those that were made in another way do not count.

    Args:
        folder: where they lie.
        about: how they are made.
    """

    def __init__(self, folder: Path, about: Mapping[str, Any]) -> None:
        self.folder, self.about = folder, json.loads(json.dumps(about))
        self._known: dict[Cell, Fitted | None] = {}

    def path(self, cell: Cell) -> Path:
        """The file of a cell."""
        size = "all" if cell.images_per_class is None else cell.images_per_class
        return self.folder / f"{cell.layer}-{cell.probe}-{size}-{cell.fold}.json"

    def __contains__(self, cell: Cell) -> bool:
        return self.get(cell) is not None

    def get(self, cell: Cell) -> Fitted | None:
        """What was found; None where it is not there, damaged, or made in another way."""
        if cell not in self._known:
            self._known[cell] = self._read(cell)
        return self._known[cell]

    def put(self, outcome: Outcome) -> None:
        """Keep what was found."""
        per_class = [None if math.isnan(value) else value for value in outcome.scored.per_class.tolist()]
        write_json(
            self.path(outcome.cell),
            {
                "about": self.about,
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
        self._known.pop(outcome.cell, None)

    def _read(self, cell: Cell) -> Fitted | None:
        try:
            found = json.loads(self.path(cell).read_text())
            if found.pop("about") != self.about:
                return None
            per_class = [float("nan") if value is None else value for value in found.pop("per_class")]
            return Fitted(cell=cell, per_class=per_class, **found)
        except (OSError, ValueError, KeyError, TypeError):
            return None
