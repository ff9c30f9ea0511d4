"""Tables of layers that describe a network, and edits of them (layers removed, numbers of maps, filters, width)."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from convlens.errors import InputError

LARGEST_WIDTH = 1000
"""The largest factor on the maps; a network that wide fits into no memory."""


@dataclass(frozen=True)
class LayerSpec:
    """A row of a table: a filtering with a ReLU, and the pooling and normalization after it.

    Attributes:
        name: ``conv`` or ``fc`` with the layer's number.
        maps: number of feature maps or units.
        kernel: side of the filters; 0 in a fully connected layer.
        stride: stride of the filters.
        padding: zero padding on each side.
        groups: number of groups of the convolution.
        pool: whether a 3x3 max pooling of stride 2 follows.
        ceil_pool: whether the size of the pooled maps is rounded up.
        norm: position of the contrast normalization relative to the pool.
        bias: initial value of the biases.
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
        """Return whether the row is a convolution."""
        return self.kernel > 0

    def conv_size(self, size: int) -> int:
        """Return the side of the feature maps for an input of side ``size`` (values of the layer below)."""
        return (size + 2 * self.padding - self.kernel) // self.stride + 1

    def out_size(self, size: int) -> int:
        """Return the side of the layer's output, after the pool, for an input of side ``size``."""
        size = self.conv_size(size)
        if not self.pool or size < 1:
            return size
        return (math.ceil if self.ceil_pool else math.floor)((size - 3) / 2) + 1


Table = tuple[LayerSpec, ...]


def number(row: LayerSpec) -> int:
    """Return the paper's number of a layer: 3 of ``conv3``, 6 of ``fc6``."""
    return int(row.name.lstrip("convf"))


def remove(table: Table, layers: Iterable[int]) -> Table:
    """Return the table without the layers of these numbers (Table 3 removes 3, 4; 7; 6, 7; 3, 4, 6, 7).

    Raises:
        InputError: a layer does not exist, or no convolution would be left.
    """
    removed = set(layers)
    numbers = {number(row) for row in table}
    if removed - numbers:
        known = ", ".join(map(str, sorted(numbers)))
        raise InputError(f"cannot remove layer {min(removed - numbers)}: the network's layers are {known}")
    rest = tuple(row for row in table if number(row) not in removed)
    if not any(row.is_conv for row in rest):
        raise InputError(f"removing layers {sorted(removed)} leaves no convolution: keep at least one of them")
    return rest


def set_maps(table: Table, maps: Mapping[str, int]) -> Table:
    """Return the table with other numbers of feature maps or units, by layer name (``{"fc6": 2048}``).

    Raises:
        InputError: a layer does not exist, or a number is below 1.
    """
    names = [row.name for row in table]
    for name, count in maps.items():
        if name not in names:
            raise InputError(f"cannot resize layer {name!r}: the network's layers are {', '.join(names)}")
        if count < 1:
            raise InputError(f"layer {name!r} cannot have {count} maps: give a number of at least 1")
    return tuple(replace(row, maps=maps.get(row.name, row.maps)) for row in table)


def scale_width(table: Table, width: float) -> Table:
    """Return the table with all maps and units times ``width``, rounded to multiples of 8 (which groups divide).

    Raises:
        InputError: ``width`` is not above 0, or too large.
    """
    if not 0 < width <= LARGEST_WIDTH:
        right = "above 0, such as 0.5" if not width > 0 else f"of at most {LARGEST_WIDTH}"
        raise InputError(f"width={width} is not possible: give a factor {right}")
    if width == 1:
        return table
    return tuple(replace(row, maps=max(8, round(row.maps * width / 8) * 8)) for row in table)


def set_filters(table: Table, filters: Mapping[str, Mapping[str, int]]) -> Table:
    """Return the table with other filters, by layer name (``{"conv1": {"kernel": 7, "stride": 2, "padding": 1}}``).

    Raises:
        InputError: a layer is no convolution of the table, or a value is impossible.
    """
    rows = {row.name: row for row in table}
    known = ("kernel", "stride", "padding", "groups")
    for name, values in filters.items():
        if name not in rows or not rows[name].is_conv:
            convolutions = ", ".join(row.name for row in table if row.is_conv)
            raise InputError(f"cannot change the filters of {name!r}: the network's convolutions are {convolutions}")
        for field, value in values.items():
            if field not in known or not isinstance(value, int) or value < (field != "padding"):
                raise InputError(f"{name} with {field}={value}: give whole numbers for {', '.join(known)}")
        edits = {field: int(value) for field, value in values.items()}
        rows[name] = replace(rows[name], **edits)  # type: ignore[arg-type]
    return tuple(rows.values())


def edit(
    table: Table,
    *,
    removed: Iterable[int] = (),
    maps: Mapping[str, int] | None = None,
    filters: Mapping[str, Mapping[str, int]] | None = None,
    width: float = 1,
) -> Table:
    """Apply edits in this order: filters, numbers of maps, removed layers, width."""
    return scale_width(remove(set_maps(set_filters(table, filters or {}), maps or {}), removed), width)


def smallest_input(table: Table) -> int:
    """Return the smallest side of images, in pixels, for which each feature map has at least one value."""
    size = 1
    while out_sizes(table, size)[-1] < 1:
        size += 1
    return size


def out_sizes(table: Table, size: int) -> list[int]:
    """Return the side of each convolutional layer's output; 0 where no value is left."""
    sizes = []
    for row in table:
        if row.is_conv:
            size = row.out_size(size) if size > 0 else 0
            size = max(size, 0)
            sizes.append(size)
    return sizes
