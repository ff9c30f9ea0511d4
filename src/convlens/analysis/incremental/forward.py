"""A forward pass that computes, of images that differ from one image in a box, only what the box changes.

The network's own code runs. Each operation gives, for each image, the box of its output that sees the box below, and
reads what lies around it from the maps of the common image: the values of a pass over whole images, for a fraction of
the work. The network believes that it works on whole images. An operation that mixes places (flattening, global
pooling, attention) is given whole maps, and what follows is computed in full.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from convlens.analysis.incremental.boxes import (
    ChangedRegion,
    TooManyError,
    as_cells,
    as_maps,
    maps_as_rows,
    rows_of,
    union,
)
from convlens.analysis.incremental.channels import CHANNEL_VIEWS, MIX_CHANNELS, of_channels, some_channels, taken
from convlens.ops.op_table import ARGUMENTS, POINTWISE, Window, arguments, looks_at_the_batch, tensors_in, window_of
from convlens.ops.window_span import NotLocalError

BLOCK = 2**23
"""Values that are gathered for one call of a convolution or pooling, at most."""
_SIZES = (torch.Tensor.shape.__get__, torch.Tensor.size)  # type: ignore[attr-defined]
_FACTS = {"__get__", "dim", "is_floating_point", "is_complex", "get_device", "element_size"}


class IncrementalForward(TorchFunctionMode):
    """While active, a network that is given ``start``'s cells computes the outputs of all the images.

    Args:
        most_values: how many values an operation may gather and give.
        only: a convolution, by its number in the pass, of which only some channels are wanted; the others are zero.
        common: what earlier passes over the same image found of it, operation by operation; goes on growing.

    Attributes:
        values: how many values the largest operation gathered and gave.
        in_full: the operations that were given whole maps, in order.
        convolutions: how many there were.
        channels_apart: since the last convolution, no operation has mixed channels.
    """

    def __init__(
        self, most_values: int, only: tuple[int, list[int]] | None = None, common: list[Tensor] | None = None
    ) -> None:
        super().__init__()
        self._changed = WeakTensorKeyDictionary()
        self._most, self._only, self._slides = most_values, only, 0
        self._common: list[Tensor] = [] if common is None else common
        self.values = 0
        self.in_full: list[str] = []
        self.convolutions = 0
        self.channels_apart = False

    def start(
        self, image: Float[Tensor, "1 c h w"], bounds: Int[Tensor, "n 4"], pixels: Float[Tensor, "cells c"]
    ) -> Tensor:
        """What to give the network: an image, and what is in the boxes instead, box after box, row by row."""
        changed = ChangedRegion.from_bounds((image.shape[2], image.shape[3]), bounds)
        return self._track(
            as_cells(torch.cat([maps_as_rows(image), pixels, pixels.new_zeros(1, pixels.shape[1])])), changed
        )

    def maps(self, output: Tensor, channels: list[int] | None = None) -> Tensor:
        """Some channels of a tensor of the network as all images have it: [n, c, h, w], or the tensor if it is such."""
        changed = self._changed.get(output)
        if changed is None:
            return taken(output, channels)
        rows = taken(self._rows(output), channels)
        size = len(changed.bounds) * changed.size[0] * changed.size[1]
        self._need(size * rows.shape[1])
        every = torch.arange(len(changed.bounds))
        numbers = changed.cells_in(every, torch.zeros_like(every), torch.zeros_like(every), changed.size, len(rows))
        return as_maps(rows.index_select(0, numbers.flatten().to(rows.device)), changed.size)

    def __torch_function__(self, func: Callable, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation on cells."""
        kwargs = kwargs or {}
        inputs = [t for t in tensors_in([*args, *kwargs.values()]) if t in self._changed]
        if not inputs:
            return func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        if func in _SIZES:
            return self._shape(inputs[0], *args[1:], **kwargs)
        if name in _FACTS:
            if isinstance(known := func(*args, **kwargs), Tensor):
                raise NotLocalError("a view such as .data")  # what is written to it would be lost
            return known
        result = None
        self.channels_apart &= name not in MIX_CHANNELS | CHANNEL_VIEWS
        if name in ARGUMENTS:
            result = self._slide(func, name, arguments(name, args, kwargs))
        elif name in POINTWISE and self._each_place_alone(name, args, kwargs):
            result = self._pointwise(func, name, args, kwargs, inputs)
        elif name in CHANNEL_VIEWS and of_channels(name, args, kwargs):
            result = self._follow(func(*args, **kwargs), self._changed[inputs[0]])
        return self._whole(func, name, args, kwargs) if result is None else result

    def _rows(self, cells: Tensor) -> Tensor:
        """The cells as rows, also while the pass is active, as in a hook of a layer."""
        with torch._C.DisableTorchFunction():
            return rows_of(cells)

    def _track(self, cells: Tensor, changed: ChangedRegion) -> Tensor:
        self._changed[cells] = changed
        return cells

    def _follow(self, result: Any, changed: ChangedRegion) -> Any:
        for output in tensors_in(result):
            self._track(output, changed)
        return result

    def _need(self, values: int) -> None:
        if values > self._most:
            raise TooManyError
        self.values = max(self.values, values)

    def _shape(self, cells: Tensor, dim: int | None = None) -> Any:
        """The size that the network expects of its tensors."""
        changed = self._changed[cells]
        size = torch.Size([len(changed.bounds), *cells.shape[1:-2], *changed.size])
        return size if dim is None else size[dim]

    def _whole(self, func: Callable, name: str, args: Any, kwargs: Any) -> Any:
        """Run an operation on whole maps."""
        if name == "__setitem__" or (name.endswith("_") and not name.startswith("__")):
            raise NotLocalError(f"{name} in place")

        def full(value: Any) -> Any:
            if isinstance(value, list | tuple):
                return type(value)(full(item) for item in value)
            return self.maps(value) if isinstance(value, Tensor) and value in self._changed else value

        result = func(*[full(arg) for arg in args], **{key: full(value) for key, value in kwargs.items()})
        self.channels_apart = False
        if any(True for _ in tensors_in(result)):
            self.in_full.append(name or str(func))
        return result

    def _slide(self, func: Callable, name: str, given: dict[str, Any]) -> Any:
        """A convolution, a pooling or a padding."""
        cells = given.pop("input")
        changed = self._changed[cells]
        rows = rows_of(cells)
        window = window_of(name, {"input": cells, **given}, changed.size)
        if window is None or given.get("return_indices") or name.endswith("_with_indices"):
            return None
        counts_border = name == "avg_pool2d" and given.get("divisor_override") is None
        if counts_border and (window.ceil or (any(window.before) and not given.get("count_include_pad", True))):
            return None
        if name == "conv2d":
            self.convolutions, self.channels_apart = self.convolutions + 1, given.get("groups", 1) == 1
        chosen = self._only[1] if self._only and name == "conv2d" and self._only[0] == self.convolutions else None
        if name == "conv2d" and window == Window((1, 1), (1, 1)):
            return self._track(func(cells, **given), changed)
        height, width = changed.size
        if self._slides == len(self._common):
            self._common.append(func(as_maps(rows[: height * width], changed.size), **given))
        shared = self._common[self._slides]
        self._slides += 1
        size = (shared.shape[2], shared.shape[3])
        if name == "pad":
            moved = changed.bounds + torch.tensor([*window.before, *window.before])
            if min(*window.before, *window.after) < 0:
                return None
            inside = replace(ChangedRegion.from_bounds(size, moved), first=changed.first + size[0] * size[1] - height * width)
            return self._track(as_cells(torch.cat([maps_as_rows(shared), rows[height * width :]])), inside)
        rows[-1] = -torch.inf if "max" in name else 0.0
        if name.startswith("adaptive_"):
            func = torch.nn.functional.avg_pool2d if "avg" in name else torch.nn.functional.max_pool2d
            own: dict[str, Any] = {"kernel_size": window.extent, "stride": window.stride}
        else:
            own = given | {"padding": 0} | ({} if name == "conv2d" else {"ceil_mode": False})
        if chosen is not None:
            func = partial(some_channels, func, chosen)
        return self._windows(partial(func, **own), rows, changed, window, maps_as_rows(shared), size)

    def _windows(
        self,
        func: Callable,
        rows: Tensor,
        changed: ChangedRegion,
        window: Window,
        shared: Tensor,
        size: tuple[int, int],
    ) -> Tensor:
        """The outputs of windows that see a changed place, those of boxes of the same size together."""
        bounds = changed.above(window, size)
        sizes, kinds = (bounds[:, 2:] - bounds[:, :2]).unique(dim=0, return_inverse=True)
        below, above = len(rows) - changed.size[0] * changed.size[1], int((bounds[:, 2:] - bounds[:, :2]).prod(1).sum())
        self._need(below * rows.shape[1] + above * shared.shape[1])
        parts, order = [shared], []
        for kind, (height, width) in enumerate(sizes.tolist()):
            members = (kinds == kind).nonzero().flatten()
            order.append(members)
            if height == 0:
                continue
            extent = tuple(
                (n - 1) * s + e for n, s, e in zip((height, width), window.stride, window.extent, strict=True)
            )
            at_once = max(1, BLOCK // (extent[0] * extent[1] * rows.shape[1]))
            for some in members.split(at_once):
                top = bounds[some, 0] * window.stride[0] - window.before[0]
                left = bounds[some, 1] * window.stride[1] - window.before[1]
                numbers = changed.cells_in(some, top, left, (extent[0], extent[1]), len(rows))
                block = as_maps(rows.index_select(0, numbers.flatten().to(rows.device)), (extent[0], extent[1]))
                parts.append(maps_as_rows(func(block)))
        parts.append(shared.new_zeros(1, shared.shape[1]))
        return self._track(as_cells(torch.cat(parts)), ChangedRegion.from_bounds(size, bounds, torch.cat(order)))

    def _each_place_alone(self, name: str, args: Any, kwargs: Any) -> bool:
        if name in ("cat", "concat"):
            alike = all(t in self._changed for t in tensors_in([*args, *kwargs.values()]))
            return alike and (args[1] if len(args) > 1 else kwargs.get("dim", 0)) in (1, -3)
        if name in ("batch_norm", "prelu"):
            return name != "batch_norm" or not looks_at_the_batch(args, kwargs)
        others = [t for t in tensors_in([*args, *kwargs.values()]) if t not in self._changed]
        return all(all(n == 1 for n in (*t.shape[:-3], *t.shape[-2:])) for t in others)

    def _pointwise(self, func: Callable, name: str, args: Any, kwargs: Any, inputs: list[Tensor]) -> Any:
        """An operation on each cell; of several tensors, on the boxes that hold all of theirs."""
        all_changed = [self._changed[t] for t in inputs]
        common = all_changed[0]
        if any(changed.size != common.size for changed in all_changed):
            return None
        if any(not changed.same_as(common) for changed in all_changed):
            common = ChangedRegion.from_bounds(common.size, union([changed.bounds for changed in all_changed]))
        in_place = name.startswith("__i") or (name.endswith("_") and not name.endswith("__"))
        if in_place and not self._changed[args[0]].same_as(common):
            # The network may go on with the tensor that it has, so that one gets the new boxes.
            args[0].data = self._spread(args[0], common)
            self._track(args[0], common)

        def spread(value: Any) -> Any:
            if isinstance(value, list | tuple):
                return type(value)(spread(item) for item in value)
            if isinstance(value, Tensor) and value in self._changed:
                return self._spread(value, common)
            return value

        own = [spread(arg) for arg in args]
        return self._follow(func(*own, **{key: spread(value) for key, value in kwargs.items()}), common)

    def _spread(self, cells: Tensor, common: ChangedRegion) -> Tensor:
        """Cells in the order, and with the boxes, of another."""
        changed = self._changed[cells]
        if changed.same_as(common):
            return cells
        rows = rows_of(cells)
        return as_cells(rows.index_select(0, changed.as_in(common, len(rows)).to(rows.device)))
