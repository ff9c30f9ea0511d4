"""Units as the user gives them (integers of any kind, arrays, tensors), checked and turned into one tensor."""

from collections.abc import Sequence
from operator import index
from typing import SupportsIndex

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from convlens.errors import InputError
from convlens.ops.input_checks import items, shown

Units = Tensor | np.ndarray | Sequence[Sequence[SupportsIndex] | Tensor | np.ndarray]
"""Units (image, map, y, x) of feature maps or (image, unit) of vectors: an array, a tensor, or a sequence of them."""


def as_unit_tensor(units: Units, num_images: int, shape: Sequence[int], layer: str | None) -> Int[Tensor, "units axes"]:
    """Return units as a tensor on the CPU, int64 [n, 4] of feature maps or [n, 2] of vectors.

    Args:
        units: the units.
        num_images: number of images that they may refer to.
        shape: shape of the layer's output for one image, [c, h, w] or [d].
        layer: its name for error messages; None is the network's output.

    Raises:
        InputError: a unit has another number of values, a value that is no integer, or one out of range.
    """
    names = ("image", "map", "y", "x") if len(shape) == 3 else ("image", "unit")
    where = f"layer {layer!r}" if layer else "the network's output"
    expected = f"give ({', '.join(names)})"
    listed = items(units)
    if listed is None:
        raise InputError(f"units={shown(units)} of {where}: {expected} for each unit")
    rows = []
    for unit in listed:
        values = _integers(unit)
        if values is None or len(values) != len(names):
            given = items(unit)
            raise InputError(f"unit {shown(unit if given is None else tuple(given))} of {where}: {expected}")
        for value, limit, name in zip(values, (num_images, *shape), names, strict=True):
            if not 0 <= value < limit:
                raise InputError(f"unit {tuple(values)} of {where}: {name} {value} is outside 0..{limit - 1}")
        rows.append(values)
    return torch.tensor(rows, dtype=torch.int64).reshape(len(rows), len(names))


def _integers(unit: object) -> list[int] | None:
    """Return a unit's values as integers, or None if they are something else."""
    given = items(unit)
    if given is None or any(isinstance(item, bool) for item in given):
        return None
    try:
        return [index(item) for item in given]  # type: ignore[arg-type]
    except TypeError:
        return None
