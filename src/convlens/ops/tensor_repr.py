"""Short representations of result classes: shapes and ranges of tensors instead of their values.

Assign `summary` in the body of a dataclass or named tuple::

    @dataclass(frozen=True)
    class OcclusionMaps:
        probability: Float[Tensor, "rows columns"]
        target: int

        __repr__ = summary

    OcclusionMaps(probability=[30, 30] 0.021..0.93, target=3)
"""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

_MAX_ITEMS = 6
_MAX_TEXT = 80


def summary(result: object) -> str:
    """Return the class's name and its fields; tensors and arrays are given by shape and range."""
    own: Any = result
    names: Iterable[str] = own._fields if isinstance(result, tuple) else [f.name for f in fields(own) if f.repr]
    return f"{type(result).__name__}({', '.join(f'{name}={describe(getattr(result, name))}' for name in names)})"


def describe(value: object) -> str:
    """Return a short text for a value: numbers as they are, tensors and arrays by shape and range.

    Lists and mappings of more than 6 items are given by their number; longer texts are cut at 80 characters.
    """
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        return _describe_array((value.float() if value.dtype == torch.bfloat16 else value).numpy())
    if isinstance(value, np.ndarray):
        return _describe_array(value)
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        items = [f"{key!r}: {describe(item)}" for key, item in value.items()] if len(value) <= _MAX_ITEMS else None
        return f"{{{', '.join(items)}}}" if items is not None else f"{{{len(value)} items}}"
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        left, right = "[]" if isinstance(value, list) else "()"
        if len(value) > _MAX_ITEMS:
            return f"{left}{len(value)} items{right}"
        return f"{left}{', '.join(map(describe, value))}{right}"
    text = repr(value)
    return f"{text[: _MAX_TEXT - 4]}...'" if isinstance(value, str) and len(text) > _MAX_TEXT else text


def _describe_array(array: np.ndarray) -> str:
    shape = str(list(array.shape))
    if array.dtype.kind not in "biuf" or not array.size:
        return f"{shape} {array.dtype}"
    if array.dtype.kind == "b":
        return f"{shape} {int(array.sum())} true"
    finite = array[np.isfinite(array)]
    if not finite.size:
        return f"{shape} not finite"
    low, high = finite.min().item(), finite.max().item()
    text = f"{low:.4g}" if low == high else f"{low:.4g}..{high:.4g}"
    missing = array.size - finite.size
    return f"{shape} {text}" + (f", {missing} not finite" if missing else "")
