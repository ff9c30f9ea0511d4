"""Images of one kind of object, in which parts are pointed at by a table."""

import csv
from pathlib import Path

import numpy as np

from convlens.data.sources.annotations import AnnotatedListing, Box, Disc
from convlens.data.sources.base import Source
from convlens.data.splits.split import Split
from convlens.errors import InputError


class PointedImages(Source):
    """`root/<table>`, a csv with a line for each image of `root`: where its parts are, in pixels of the file.

    The columns are `file`; for each part either `<part>_x` and `<part>_y`, which make it a disc around that point, or
    `<part>_x1`, `<part>_y1`, `<part>_x2`, `<part>_y2`, its box; and the same four for `bbox`, the box of the object. An
    empty cell means that the part is not to be seen. All images are of one class, and all are training and test images
    alike: nothing is learnt from them.

    Args:
        root: folder of the images.
        table: name of the table.
        radius: of a part's disc, as a share of the distance of the first two parts of the table (of a face: the eyes);
            where one of these is not to be seen, as that share of a third of the object's longer side.
        kind: what the images are of.
    """

    def __init__(self, root: str | Path, table: str = "parts.csv", radius: float = 0.35, kind: str = "object") -> None:
        if not radius > 0:
            raise InputError(f"radius {radius}: give a number above 0")
        self.root, self.radius, self.kind = Path(root).expanduser(), radius, kind
        self.path = self.root / table
        self._listing: AnnotatedListing | None = None

    def class_names(self) -> tuple[str, ...]:
        """The one class."""
        return (self.kind,)

    def split(self, name: str) -> Split | None:
        """All images, whatever the name; no validation images."""
        if name == "val":
            return None
        if self._listing is None:
            self._listing = self._read()
        return Split(self._listing, np.arange(len(self._listing)))

    def _read(self) -> AnnotatedListing:
        try:
            lines = list(csv.DictReader(self.path.open(newline="")))
        except OSError as error:
            raise InputError(f"{self.path} cannot be read ({error.strerror}): give the table of the parts") from error
        columns = list(lines[0]) if lines else []
        parts = [name[:-2] for name in columns if name.endswith("_x") and f"{name[:-2]}_y" in columns]
        boxed = [name[:-3] for name in columns if name.endswith("_x1") and f"{name[:-3]}_y2" in columns]
        if "file" not in columns or not (parts or set(boxed) - {"bbox"}):
            wanted = "file, and <part>_x, <part>_y or <part>_x1, _y1, _x2, _y2"
            raise InputError(f"{self.path} has no images with parts: its columns should be {wanted}")
        try:
            shapes = [_shapes(line, parts, boxed, self.radius) for line in lines]
        except ValueError as error:
            raise InputError(f"{self.path}: {error}; places are numbers of pixels") from error
        names = [line["file"] for line in lines]
        return AnnotatedListing(self.root.name, names, np.zeros(len(names), np.int64), self.root, shapes)


def _shapes(line: dict[str, str], parts: list[str], boxed: list[str], radius: float) -> list[Box | Disc]:
    points = {part: (float(line[f"{part}_x"]), float(line[f"{part}_y"])) for part in parts if line[f"{part}_x"]}
    shapes: list[Box | Disc] = []
    for part in boxed:
        if line[f"{part}_x1"]:
            left, top, right, bottom = (float(line[f"{part}_{edge}"]) for edge in ("x1", "y1", "x2", "y2"))
            shapes.append(Box("object" if part == "bbox" else part, left, top, right, bottom))
    first = [points[part] for part in parts[:2] if part in points]
    thing = next((shape for shape in shapes if shape.name == "object"), None)
    if len(first) == 2:
        apart = float(np.hypot(first[0][0] - first[1][0], first[0][1] - first[1][1]))
    elif isinstance(thing, Box):
        apart = max(thing.right - thing.left, thing.bottom - thing.top) / 3
    elif points:
        raise ValueError(f"{line['file']} has neither the first two parts nor bbox, which tell how large its parts are")
    else:
        return shapes
    return shapes + [Disc(part, x, y, radius * apart) for part, (x, y) in points.items()]
