"""Maps of many images that differ from one image in a box each, held without what they share.

The cells (a value for each channel at one place) of all these maps lie in one tensor [1, channels, cells, 1]: first
those of the common map, row by row, then those of each image's box, and last a cell that stands for all places outside.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from convlens.ops.op_table import Pair, Window

Cells = Float[Tensor, "1 c cells 1"]


class TooManyError(Exception):
    """More values at once than allowed: fewer images at a time would be right."""


@dataclass(frozen=True)
class ChangedRegion:
    """Where the cells are.

    Attributes:
        size: height and width of the maps.
        bounds: top, left, bottom, right (half-open) of each image's box; top equals bottom where nothing changed.
        first: number of the first cell of each box; the others follow row by row.
    """

    size: Pair
    bounds: Int[Tensor, "n 4"]
    first: Int[Tensor, " n"]

    @classmethod
    def from_bounds(cls, size: Pair, bounds: Int[Tensor, "n 4"], order: Int[Tensor, " n"] | None = None) -> "ChangedRegion":
        """Boxes one after the other, in that order."""
        counts = (bounds[:, 2] - bounds[:, 0]) * (bounds[:, 3] - bounds[:, 1])
        order = torch.arange(len(bounds)) if order is None else order
        first = torch.empty_like(counts)
        first[order] = counts[order].cumsum(0) - counts[order] + size[0] * size[1]
        return cls(size, bounds, first)

    def same_as(self, other: "ChangedRegion") -> bool:
        """Whether the cells are in the same order."""
        return self is other or (torch.equal(self.bounds, other.bounds) and torch.equal(self.first, other.first))

    def cells_in(
        self, items: Int[Tensor, " m"], top: Int[Tensor, " m"], left: Int[Tensor, " m"], extent: Pair, count: int
    ) -> Int[Tensor, "m h w"]:
        """The numbers, among ``count`` cells, of those of equally large windows of some images."""
        height, width = self.size
        y, x = top[:, None] + torch.arange(extent[0]), left[:, None] + torch.arange(extent[1])
        bounds = self.bounds[items]
        rows = (y >= bounds[:, :1]) & (y < bounds[:, 2:3])
        columns = (x >= bounds[:, 1:2]) & (x < bounds[:, 3:])
        shared = (y * width)[:, :, None] + x[:, None]
        line = (bounds[:, 3] - bounds[:, 1])[:, None]
        begin = self.first[items][:, None] + (y - bounds[:, :1]) * line
        own = begin[:, :, None] + (x - bounds[:, 1:2])[:, None]
        number = torch.where(rows[:, :, None] & columns[:, None], own, shared)
        beyond = ((y < 0) | (y >= height))[:, :, None] | ((x < 0) | (x >= width))[:, None]
        return number.masked_fill_(beyond, count - 1)

    def as_in(self, other: "ChangedRegion", count: int) -> Int[Tensor, " cells"]:
        """The numbers, among ``count`` cells, of those that another's order and boxes have, which hold all of these."""
        shared = other.size[0] * other.size[1]
        sizes, kinds = (other.bounds[:, 2:] - other.bounds[:, :2]).unique(dim=0, return_inverse=True)
        own = torch.empty(int((other.bounds[:, 2:] - other.bounds[:, :2]).prod(1).sum()), dtype=torch.int64)
        for kind, (height, width) in enumerate(sizes.tolist()):
            some = (kinds == kind).nonzero().flatten()
            found = self.cells_in(some, other.bounds[some, 0], other.bounds[some, 1], (height, width), count)
            at = other.first[some][:, None] - shared + torch.arange(height * width)
            own[at.flatten()] = found.flatten()
        return torch.cat([torch.arange(shared), own, torch.tensor([count - 1])])

    def above(self, window: Window, outputs: Pair) -> Int[Tensor, "n 4"]:
        """Boxes of the outputs of a window operation that see something of the changed boxes."""
        found = torch.empty_like(self.bounds)
        for axis in (0, 1):
            extent, stride, before = window.extent[axis], window.stride[axis], window.before[axis]
            begin, end = self.bounds[:, axis], self.bounds[:, axis + 2]
            low = (-((extent - 1 - before - begin) // stride)).clamp(0, outputs[axis])
            high = ((end - 1 + before) // stride + 1).clamp(0, outputs[axis])
            found[:, axis], found[:, axis + 2] = low, torch.maximum(low, high)
        nothing = (self.bounds[:, 0] >= self.bounds[:, 2]) | (self.bounds[:, 1] >= self.bounds[:, 3])
        nothing |= (found[:, 0] >= found[:, 2]) | (found[:, 1] >= found[:, 3])
        found[nothing] = 0
        return found


def union(boxes: list[Int[Tensor, "n 4"]]) -> Int[Tensor, "n 4"]:
    """The smallest boxes that hold all of these; an empty box counts for nothing."""
    found = boxes[0]
    for other in boxes[1:]:
        low, high = torch.minimum(found, other), torch.maximum(found, other)
        both = torch.cat([low[:, :2], high[:, 2:]], 1)
        mine, theirs = (((box[:, 2] > box[:, 0]) & (box[:, 3] > box[:, 1]))[:, None] for box in (found, other))
        found = torch.where(mine & theirs, both, torch.where(mine, found, other))
    return found


def rows_of(cells: Cells) -> Float[Tensor, "cells c"]:
    """The cells as rows, in place where they lie one after the other."""
    return cells[0, :, :, 0].t().contiguous()


def as_cells(rows: Float[Tensor, "cells c"]) -> Cells:
    """The opposite of ``rows_of``."""
    return rows.t()[None, :, :, None]


def as_maps(rows: Float[Tensor, "cells c"], size: Pair) -> Float[Tensor, "n c h w"]:
    """Rows of equally large windows as maps, without a copy."""
    return rows.view(-1, *size, rows.shape[1]).permute(0, 3, 1, 2)


def maps_as_rows(maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "cells c"]:
    """The opposite of ``as_maps``."""
    return maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])
