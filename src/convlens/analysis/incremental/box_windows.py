"""Window operations (convolution, pooling, padding) on the changed boxes of feature maps."""

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from convlens.analysis.incremental.boxes import ChangedRegion, gather_maps, maps_as_rows, rows_as_cells
from convlens.ops.op_table import Window

BLOCK = 2**23
"""Elements that are gathered for one call of a convolution or pooling, at most."""


def pad_cells(
    rows: Float[Tensor, "cells c"], region: ChangedRegion, window: Window, shared: Float[Tensor, "1 c h w"]
) -> tuple[Float[Tensor, "1 c new_cells 1"], ChangedRegion]:
    """Pad maps: replace the unchanged image's cells and move the boxes.

    Args:
        rows: the input's cells.
        region: the input's layout.
        window: the padding.
        shared: the padded maps of the unchanged image.
    """
    size, unchanged = (shared.shape[2], shared.shape[3]), region.size[0] * region.size[1]
    bounds = region.bounds + torch.tensor([*window.before, *window.before])
    first = region.first + size[0] * size[1] - unchanged
    moved = replace(ChangedRegion.from_bounds(size, bounds), first=first)
    return rows_as_cells(torch.cat([maps_as_rows(shared), rows[unchanged:]])), moved


def slide_over_boxes(
    run: Callable[[Tensor], Tensor],
    rows: Float[Tensor, "cells c"],
    region: ChangedRegion,
    window: Window,
    bounds: Int[Tensor, "n 4"],
    shared: Float[Tensor, "1 c2 h w"],
) -> tuple[Float[Tensor, "1 c2 new_cells 1"], ChangedRegion]:
    """Compute a window operation's outputs that depend on changed positions, boxes of one size together.

    Args:
        run: the operation, of inputs that contain their padding.
        rows: the input's cells; the last one has the value of the padding.
        region: the input's layout.
        window: the sliding window.
        bounds: the boxes of the output that are computed, `ChangedRegion.output_bounds`.
        shared: the output for the unchanged image.
    """
    shared_rows = maps_as_rows(shared)
    sizes, kinds = (bounds[:, 2:] - bounds[:, :2]).unique(dim=0, return_inverse=True)
    parts, order = [shared_rows], []
    for kind, (height, width) in enumerate(sizes.tolist()):
        members = (kinds == kind).nonzero().flatten()
        order.append(members)
        if height == 0:
            continue
        extent = (
            (height - 1) * window.stride[0] + window.extent[0],
            (width - 1) * window.stride[1] + window.extent[1],
        )
        at_once = max(1, BLOCK // (extent[0] * extent[1] * rows.shape[1]))
        for some in members.split(at_once):
            top = bounds[some, 0] * window.stride[0] - window.before[0]
            left = bounds[some, 1] * window.stride[1] - window.before[1]
            indices = region.window_cells(some, top, left, extent, len(rows))
            parts.append(maps_as_rows(run(gather_maps(rows, indices, extent))))
    parts.append(shared_rows.new_zeros(1, shared_rows.shape[1]))
    layout = ChangedRegion.from_bounds((shared.shape[2], shared.shape[3]), bounds, torch.cat(order))
    return rows_as_cells(torch.cat(parts)), layout
