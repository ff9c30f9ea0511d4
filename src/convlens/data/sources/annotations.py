"""Image files with annotated boxes and points."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int64
from PIL import Image

from convlens.data.splits.image_index import FileIndex


class Box(NamedTuple):
    """A box in an image.

    Attributes:
        name: what is in the box.
        left: left edge in pixels of the file.
        top: top edge.
        right: right edge of the last pixel inside.
        bottom: bottom edge of the last pixel inside.
    """

    name: str
    left: float
    top: float
    right: float
    bottom: float


class Disc(NamedTuple):
    """A point with a radius, in pixels of the file."""

    name: str
    x: float
    y: float
    radius: float


@dataclass(frozen=True, eq=False, repr=False)
class AnnotatedIndex(FileIndex):
    """Image files with the boxes and discs of each; shapes of the same name form one region."""

    shapes: Sequence[Sequence[Box | Disc]]

    def regions(self, row: int, size: int) -> dict[str, Bool[np.ndarray, "size size"]]:
        """Return the regions of an image as masks of its stored square, without those outside of it."""
        with Image.open(self.root / self.names[row]) as image:
            width, height = image.size
        if self.resize_mode == "crop":
            visible_width = visible_height = min(width, height)
        else:
            visible_width, visible_height = width, height
        # Centres of the square's pixels, in pixels of the file.
        steps = (np.arange(size) + 0.5) / size
        x = steps * visible_width + (width - visible_width) // 2
        y = steps * visible_height + (height - visible_height) // 2
        masks: dict[str, Bool[np.ndarray, "size size"]] = {}
        for shape in self.shapes[row]:
            mask = _mask(shape, x, y)
            if mask.any():
                masks[shape.name] = mask | masks.get(shape.name, False)
        return masks

    def take(self, rows: Int64[np.ndarray, " k"]) -> "AnnotatedIndex":
        """Return the index of some rows only."""
        names, shapes = [self.names[row] for row in rows], [self.shapes[row] for row in rows]
        return replace(self, names=names, labels=self.labels[rows], shapes=shapes)


def _mask(
    shape: Box | Disc, x: Float[np.ndarray, " size"], y: Float[np.ndarray, " size"]
) -> Bool[np.ndarray, "size size"]:
    if isinstance(shape, Box):
        return ((y >= shape.top) & (y < shape.bottom))[:, None] & ((x >= shape.left) & (x < shape.right))[None]
    return (y - shape.y)[:, None] ** 2 + (x - shape.x)[None] ** 2 <= shape.radius**2
