"""Which units are computed together: those whose windows are of one shape, or nearly one."""

from collections import defaultdict
from collections.abc import Iterator

import torch
from jaxtyping import Int
from torch import Tensor

from convlens.ops.op_table import Pair
from convlens.ops.receptive_field import ReceptiveField
from convlens.ops.window_span import Grid, Span

PIXELS_PER_GROUP = 256**2
"""Windows of so many pixels go together before borders are told apart: half-empty batches cost more than wide windows.

Measured on networks of 10 to 40 operations; twice or half of it makes less than 10 % of a difference.
"""


def groups(field: ReceptiveField, places: Int[Tensor, "units 2"], sizes: Pair) -> Iterator[tuple[list[int], Grid]]:
    """Rows of ``places`` and their windows in images of ``sizes``.

    Along each axis the units whose windows lie inside of the image are of one kind. Those at a border share windows
    with their neighbours, the more finely divided the more units there are: a window is then as wide as all of them
    need, and no place in it is wasted if there is one place only.
    """
    per_group = max(1.0, PIXELS_PER_GROUP / (field.size[0] * field.size[1]))
    most = max(1, int((len(places) / per_group) ** 0.5))
    kinds = [_kinds(field, axis, places[:, axis], sizes[axis], most) for axis in (0, 1)]
    members: dict[tuple[int, int], list[int]] = defaultdict(list)
    for row, key in enumerate(zip(kinds[0].tolist(), kinds[1].tolist(), strict=True)):
        members[key].append(row)
    for (vertical, horizontal), rows in members.items():
        spans = []
        for axis, kind in ((0, vertical), (1, horizontal)):
            own = places[rows, axis]
            shared = None if kind == 0 else (int(own.min()), int(own.max()))
            spans.append(Span(field.start[axis], field.size[axis], field.stride[axis], sizes[axis], shared))
        yield rows, (spans[0], spans[1])


def _kinds(field: ReceptiveField, axis: int, places: Int[Tensor, " units"], size: int, most: int) -> Tensor:
    """A number for each unit: 0 inside, else which border it is at and in which of at most ``most`` runs of places."""
    begins = field.start[axis] + places * field.stride[axis]
    sides = (begins < 0) + 2 * (begins + field.size[axis] > size)
    kinds = torch.zeros_like(places)
    for side in (1, 2, 3):
        at = (sides == side).nonzero().flatten()
        if len(at):
            # Equal shares of the units, but a place is never divided.
            least = places[at].sort().values
            run = torch.searchsorted(least, places[at]) * most // len(at)
            kinds[at] = 1 + (side - 1) * most + run
    return kinds
