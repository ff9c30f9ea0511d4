"""A network is a table of layers; an ablation is an edit of the table."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from convlens.errors import InputError


@dataclass(frozen=True)
class LayerSpec:
    """One row: filtering, rectification and what follows it before the next layer reads the result.

    ``kernel == 0`` marks a fully connected layer. ``bias`` is the value biases start from. ``norm`` says where
    contrast normalisation stands relative to the pool. ``pool`` is the 3x3, stride-2 max pooling of both networks.
    """

    name: str
    maps: int
    kernel: int = 0
    stride: int = 1
    padding: int = 0
    groups: int = 1
    pool: bool = False
    ceil_pool: bool = False
    norm: Literal["none", "before_pool", "after_pool"] = "none"
    bias: float = 0.0

    @property
    def is_conv(self) -> bool:
        """Whether the row is a convolution."""
        return self.kernel > 0

    def conv_size(self, size: int) -> int:
        """Side of the feature maps for an input of side ``size`` (pixels of the layer below)."""
        return (size + 2 * self.padding - self.kernel) // self.stride + 1

    def out_size(self, size: int) -> int:
        """Side of what the layer hands on, after the pool."""
        size = self.conv_size(size)
        if not self.pool or size < 1:
            return size
        return (math.ceil if self.ceil_pool else math.floor)((size - 3) / 2) + 1


Table = tuple[LayerSpec, ...]


def number(row: LayerSpec) -> int:
    """The paper's layer number: ``conv3`` -> 3, ``fc6`` -> 6."""
    return int(row.name.lstrip("convf"))


def remove(table: Table, layers: Iterable[int]) -> Table:
    """The table without the layers of these numbers (paper, Table 3: 3,4; 7; 6,7; 3,4,6,7)."""
    wanted = set(layers)
    numbers = {number(row) for row in table}
    if wanted - numbers:
        there = ", ".join(map(str, sorted(numbers)))
        raise InputError(f"cannot remove layer {min(wanted - numbers)}: the network's layers are {there}")
    left = tuple(row for row in table if number(row) not in wanted)
    if not any(row.is_conv for row in left):
        raise InputError(f"removing layers {sorted(wanted)} leaves no convolution: keep at least one of them")
    return left


def set_maps(table: Table, maps: Mapping[str, int]) -> Table:
    """The table with other numbers of feature maps or units, by layer name (``{"fc6": 2048}``)."""
    names = [row.name for row in table]
    for name, count in maps.items():
        if name not in names:
            raise InputError(f"cannot resize layer {name!r}: the network's layers are {', '.join(names)}")
        if count < 1:
            raise InputError(f"layer {name!r} cannot have {count} maps: give a number of at least 1")
    return tuple(replace(row, maps=maps.get(row.name, row.maps)) for row in table)


def scale_width(table: Table, width: float) -> Table:
    """All maps and units times ``width``, rounded to multiples of 8 so that groups always divide them."""
    if width <= 0:
        raise InputError(f"width={width} is not possible: give a factor above 0, such as 0.5")
    if width == 1:
        return table
    return tuple(replace(row, maps=max(8, round(row.maps * width / 8) * 8)) for row in table)


def set_filters(table: Table, filters: Mapping[str, Mapping[str, int]]) -> Table:
    """The table with other filters, by layer name (``{"conv1": {"kernel": 7, "stride": 2, "padding": 1}}``)."""
    rows = {row.name: row for row in table}
    known = ("kernel", "stride", "padding", "groups")
    for name, values in filters.items():
        if name not in rows or not rows[name].is_conv:
            there = ", ".join(row.name for row in table if row.is_conv)
            raise InputError(f"cannot change the filters of {name!r}: the network's convolutions are {there}")
        for field, value in values.items():
            if field not in known or not isinstance(value, int) or value < (field != "padding"):
                raise InputError(f"{name} with {field}={value}: give whole numbers for {', '.join(known)}")
        changed: dict[str, Any] = dict(values)
        rows[name] = replace(rows[name], **changed)
    return tuple(rows.values())


def edit(
    table: Table,
    *,
    removed: Iterable[int] = (),
    maps: Mapping[str, int] | None = None,
    filters: Mapping[str, Mapping[str, int]] | None = None,
    width: float = 1,
) -> Table:
    """All of a network's edits: other filters and numbers of maps, then layers removed, then everything scaled."""
    return scale_width(remove(set_maps(set_filters(table, filters or {}), maps or {}), removed), width)


def smallest_input(table: Table) -> int:
    """The smallest input side, in pixels, for which every map has at least one value."""
    size = 1
    while out_sizes(table, size)[-1] < 1:
        size += 1
    return size


def out_sizes(table: Table, size: int) -> list[int]:
    """Side of what each conv layer hands on; 0 from the layer on where nothing is left."""
    sizes = []
    for row in table:
        if row.is_conv:
            size = row.out_size(size) if size > 0 else 0
            size = max(size, 0)
            sizes.append(size)
    return sizes
