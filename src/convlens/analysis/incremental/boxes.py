"""Feature maps of many images that differ from one image in one box each, without storing what they share.

A cell is the values of all channels at one position. The cells of all these maps are stored in one tensor
[1, channels, cells, 1]: first those of the unchanged image's map, row by row, then those of each image's box, and last
one cell that stands for all positions outside of the maps.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from convlens.ops.callers_code import StoppedError
from convlens.ops.op_table import Pair, Window

Cells = Float[Tensor, "1 c cells 1"]


class TooManyElementsError(StoppedError):
    """An operation would hold more elements than allowed; fewer images at once may fit."""


@dataclass(frozen=True)
class ChangedRegion:
    """Layout of the cells of maps that differ from the unchanged map in a box each.

    Attributes:
        size: height and width of the maps.
        bounds: top, left, bottom, right (half-open) of each image's box; top equals bottom if nothing changed.
        first: index of the first cell of each box; the others follow row by row.
    """

    size: Pair
    bounds: Int[Tensor, "n 4"]
    first: Int[Tensor, " n"]

    @classmethod
    def from_bounds(
        cls, size: Pair, bounds: Int[Tensor, "n 4"], order: Int[Tensor, " n"] | None = None
    ) -> "ChangedRegion":
        """Lay out boxes one after the other, in that order."""
        counts = (bounds[:, 2] - bounds[:, 0]) * (bounds[:, 3] - bounds[:, 1])
        order = torch.arange(len(bounds)) if order is None else order
        first = torch.empty_like(counts)
        first[order] = counts[order].cumsum(0) - counts[order] + size[0] * size[1]
        return cls(size, bounds, first)

    def same_as(self, other: "ChangedRegion") -> bool:
        """Return whether the cells are in the same order."""
        return self is other or (torch.equal(self.bounds, other.bounds) and torch.equal(self.first, other.first))

    def window_cells(
        self, items: Int[Tensor, " m"], top: Int[Tensor, " m"], left: Int[Tensor, " m"], extent: Pair, count: int
    ) -> Int[Tensor, "m h w"]:
        """Return the indices of the cells of equally large windows.

        Args:
            items: the image of each window.
            top: first row of each window; may be outside of the map.
            left: first column of each window; may be outside of the map.
            extent: height and width of the windows.
            count: number of cells.
        """
        height, width = self.size
        y, x = top[:, None] + torch.arange(extent[0]), left[:, None] + torch.arange(extent[1])
        bounds = self.bounds[items]
        rows = (y >= bounds[:, :1]) & (y < bounds[:, 2:3])
        columns = (x >= bounds[:, 1:2]) & (x < bounds[:, 3:])
        shared = (y * width)[:, :, None] + x[:, None]
        line = (bounds[:, 3] - bounds[:, 1])[:, None]
        begin = self.first[items][:, None] + (y - bounds[:, :1]) * line
        own = begin[:, :, None] + (x - bounds[:, 1:2])[:, None]
        index = torch.where(rows[:, :, None] & columns[:, None], own, shared)
        outside = ((y < 0) | (y >= height))[:, :, None] | ((x < 0) | (x >= width))[:, None]
        return index.masked_fill_(outside, count - 1)

    def cells_in_layout(self, other: "ChangedRegion", count: int) -> Int[Tensor, " cells"]:
        """Return the indices, among ``count`` cells, in the layout of another region whose boxes contain these."""
        shared = other.size[0] * other.size[1]
        sizes, kinds = (other.bounds[:, 2:] - other.bounds[:, :2]).unique(dim=0, return_inverse=True)
        own = torch.empty(int((other.bounds[:, 2:] - other.bounds[:, :2]).prod(1).sum()), dtype=torch.int64)
        for kind, (height, width) in enumerate(sizes.tolist()):
            some = (kinds == kind).nonzero().flatten()
            index = self.window_cells(some, other.bounds[some, 0], other.bounds[some, 1], (height, width), count)
            at = other.first[some][:, None] - shared + torch.arange(height * width)
            own[at.flatten()] = index.flatten()
        return torch.cat([torch.arange(shared), own, torch.tensor([count - 1])])

    def output_bounds(self, window: Window, outputs: Pair) -> Int[Tensor, "n 4"]:
        """Return the boxes of a window operation's outputs that depend on the changed boxes.

        Args:
            window: the sliding window.
            outputs: height and width of the output.
        """
        bounds = torch.empty_like(self.bounds)
        for axis in (0, 1):
            extent, stride, before = window.extent[axis], window.stride[axis], window.before[axis]
            begin, end = self.bounds[:, axis], self.bounds[:, axis + 2]
            low = (-((extent - 1 - before - begin) // stride)).clamp(0, outputs[axis])
            high = ((end - 1 + before) // stride + 1).clamp(0, outputs[axis])
            bounds[:, axis], bounds[:, axis + 2] = low, torch.maximum(low, high)
        empty = (self.bounds[:, 0] >= self.bounds[:, 2]) | (self.bounds[:, 1] >= self.bounds[:, 3])
        empty |= (bounds[:, 0] >= bounds[:, 2]) | (bounds[:, 1] >= bounds[:, 3])
        bounds[empty] = 0
        return bounds


def union(boxes: Sequence[Int[Tensor, "n 4"]]) -> Int[Tensor, "n 4"]:
    """Return the smallest boxes that contain those of each image; empty boxes are ignored."""
    result = boxes[0]
    for other in boxes[1:]:
        low, high = torch.minimum(result, other), torch.maximum(result, other)
        both = torch.cat([low[:, :2], high[:, 2:]], 1)
        first, second = (((box[:, 2] > box[:, 0]) & (box[:, 3] > box[:, 1]))[:, None] for box in (result, other))
        result = torch.where(first & second, both, torch.where(first, result, other))
    return result


def cells_as_rows(cells: Cells) -> Float[Tensor, "cells c"]:
    """Return cells as rows, without a copy if they are stored channels-last."""
    return cells[0, :, :, 0].t().contiguous()


def rows_as_cells(rows: Float[Tensor, "cells c"]) -> Cells:
    """Return rows as cells, the inverse of `cells_as_rows`."""
    return rows.t()[None, :, :, None]


def rows_as_maps(rows: Float[Tensor, "cells c"], size: Pair) -> Float[Tensor, "n c h w"]:
    """Return the rows of equally large windows as maps, without a copy."""
    return rows.view(-1, *size, rows.shape[1]).permute(0, 3, 1, 2)


def maps_as_rows(maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "cells c"]:
    """Return maps as rows, the inverse of `rows_as_maps`."""
    return maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])


def gather_maps(rows: Float[Tensor, "cells c"], indices: Int[Tensor, "n h w"], size: Pair) -> Float[Tensor, "n c h w"]:
    """Return the maps of equally large windows from the indices of their cells."""
    return rows_as_maps(rows.index_select(0, indices.flatten().to(rows.device)), size)
