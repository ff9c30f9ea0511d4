"""Image files in which boxes and points are known."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int64
from PIL import Image

from convlens.data.splits.image_index import FileListing


class Box(NamedTuple):
    """A box in an image, in pixels of the file: the right and bottom edges are those of the last pixels inside."""

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


@dataclass(frozen=True, eq=False)
class AnnotatedListing(FileListing):
    """Image files with the boxes and discs of each; several of one name are one region."""

    shapes: Sequence[Sequence[Box | Disc]]

    def regions(self, row: int, size: int) -> dict[str, Bool[np.ndarray, "size size"]]:
        """The regions of an image as masks of the square that is made of it; those outside of it are left out."""
        with Image.open(self.root / self.names[row]) as image:
            width, height = image.size
        if self.fit == "crop":
            shown_width = shown_height = min(width, height)
        else:
            shown_width, shown_height = width, height
        # Middles of the square's pixels, in pixels of the file.
        steps = (np.arange(size) + 0.5) / size
        x = steps * shown_width + (width - shown_width) // 2
        y = steps * shown_height + (height - shown_height) // 2
        masks: dict[str, Bool[np.ndarray, "size size"]] = {}
        for shape in self.shapes[row]:
            mask = _drawn(shape, x, y)
            if mask.any():
                masks[shape.name] = mask | masks.get(shape.name, False)
        return masks

    def take(self, rows: Int64[np.ndarray, " k"]) -> "AnnotatedListing":
        """The listing of some rows only."""
        taken = [self.shapes[row] for row in rows]
        names = [self.names[row] for row in rows]
        return replace(self, names=names, labels=self.labels[rows], shapes=taken)


def _drawn(
    shape: Box | Disc, x: Float[np.ndarray, " size"], y: Float[np.ndarray, " size"]
) -> Bool[np.ndarray, "size size"]:
    if isinstance(shape, Box):
        return ((y >= shape.top) & (y < shape.bottom))[:, None] & ((x >= shape.left) & (x < shape.right))[None]
    return (y - shape.y)[:, None] ** 2 + (x - shape.x)[None] ** 2 <= shape.radius**2
