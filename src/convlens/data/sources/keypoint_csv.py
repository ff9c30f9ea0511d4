"""Images of one kind of object with the positions of its parts in a csv file."""

import csv
import io
import math
from pathlib import Path

import numpy as np

from convlens.data.sources.annotations import AnnotatedIndex, Box, Disc
from convlens.data.sources.base import Source
from convlens.data.splits.split import Split
from convlens.errors import InputError
from convlens.io.inside import is_special
from convlens.io.names import read_names


class PointedImages(Source):
    """``root/<table>``, a csv with a row for each image in ``root``: positions of its parts in pixels of the file.

    The columns are ``file``; for each part either ``<part>_x`` and ``<part>_y``, the centre of a disc, or
    ``<part>_x1``, ``<part>_y1``, ``<part>_x2`` and ``<part>_y2``, a box; and the same four for ``bbox``, the box of the
    object. An empty cell means that the part is hidden. All images are of one class and serve as training and test
    images alike.

    Args:
        root: folder of the images.
        table: file name of the csv.
        radius: radius of a part's disc as a share of the distance between the first two parts of the csv (of a face:
            the eyes); if one of these is hidden, as a share of a third of the object's longer side.
        kind: name of the class.

    Raises:
        InputError: ``radius`` is not above 0.
    """

    def __init__(self, root: str | Path, table: str = "parts.csv", radius: float = 0.35, kind: str = "object") -> None:
        if not radius > 0:
            raise InputError(f"radius {radius}: give a number above 0")
        self.root, self.radius, self.kind = Path(root).expanduser(), radius, kind
        self.path = self.root / table
        self._image_index: AnnotatedIndex | None = None

    def class_names(self) -> tuple[str, ...]:
        """Return the one class."""
        return (self.kind,)

    def split(self, name: str) -> Split | None:
        """Return all images for ``train`` and ``test``; there are no validation images."""
        if name == "val":
            return None
        if self._image_index is None:
            self._image_index = self._read()
        return Split(self._image_index, np.arange(len(self._image_index)))

    def _read(self) -> AnnotatedIndex:
        try:
            if special := is_special(self.path):
                raise ValueError(special)
            lines = list(csv.DictReader(io.StringIO(read_names(self.path)), restval="", restkey=""))
        except (OSError, ValueError, csv.Error) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"{self.path} cannot be read ({reason}): give the csv of the parts") from error
        columns = list(lines[0]) if lines else []
        parts = [name[:-2] for name in columns if name.endswith("_x") and f"{name[:-2]}_y" in columns]
        boxed = [name[:-3] for name in columns if name.endswith("_x1") and f"{name[:-3]}_y2" in columns]
        if "file" not in columns or not (parts or set(boxed) - {"bbox"}):
            columns_needed = "file, and <part>_x, <part>_y or <part>_x1, _y1, _x2, _y2"
            raise InputError(f"{self.path} has no images with parts: its columns must be {columns_needed}")
        try:
            shapes = [_shapes(line, parts, boxed, self.radius) for line in lines]
        except ValueError as error:
            raise InputError(f"{self.path}: {error}: coordinates are numbers of pixels") from error
        names = [line["file"] for line in lines]
        if not all(names):
            raise InputError(f"{self.path}: row {names.index('') + 1} names no file: give the name of its image")
        return AnnotatedIndex(self.root.name, names, np.zeros(len(names), np.int64), self.root, shapes)


def _shapes(line: dict[str, str], parts: list[str], boxed: list[str], radius: float) -> list[Box | Disc]:
    points = {part: (_number(line, f"{part}_x"), _number(line, f"{part}_y")) for part in parts if line[f"{part}_x"]}
    shapes: list[Box | Disc] = []
    for part in boxed:
        if line[f"{part}_x1"]:
            left, top, right, bottom = (_number(line, f"{part}_{edge}") for edge in ("x1", "y1", "x2", "y2"))
            shapes.append(Box("object" if part == "bbox" else part, left, top, right, bottom))
    reference = [points[part] for part in parts[:2] if part in points]
    box = next((shape for shape in shapes if shape.name == "object"), None)
    if len(reference) == 2:
        distance = float(np.hypot(*(a - b for a, b in zip(*reference, strict=True))))
    elif isinstance(box, Box):
        distance = max(box.right - box.left, box.bottom - box.top) / 3
    elif points:
        raise ValueError(
            f"{line['file']} has neither the first two parts nor a bbox, one of which gives the size of the parts"
        )
    else:
        return shapes
    return shapes + [Disc(part, x, y, radius * distance) for part, (x, y) in points.items()]


def _number(line: dict[str, str], column: str) -> float:
    """Return the number in a cell.

    Raises:
        ValueError: there is none.
    """
    try:
        number = float(line[column])
    except (KeyError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{line['file']} has {column}={line.get(column, '')!r}")
    return number
