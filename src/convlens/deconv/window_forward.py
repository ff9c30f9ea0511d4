"""A forward pass over the windows that single units see, instead of over whole images.

Each unit of a batch has its own place, and so its own window of its image. Every operation gives the window of its
output, a little smaller, down to the single unit: the values of the pass over whole images, for a fraction of the
work. Along each axis the units of a batch either all see windows inside of the image, at any places, or share one
window, which ends at the borders of the maps, beyond which an operation reads its padding, as ever. It is the network's
own code that runs, as everywhere in `deconv`; an operation that mixes places otherwise ends the attempt.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from convlens.deconv.fast_conv import convolve
from convlens.deconv.forward_cache import ForwardCache
from convlens.ops.op_table import (
    ARGUMENTS,
    POINTWISE,
    VIEWS,
    Pair,
    Window,
    arguments,
    leaves_space_alone,
    looks_at_the_batch,
    tensors_in,
    window_of,
)
from convlens.ops.window_span import Grid, NotLocalError, Span, cut_to, windows_of


class WindowForward(TorchFunctionMode):
    """While active, a network that is given windows of images computes windows of its maps.

    Args:
        windows: all equally large.
        grid: where they lie in the images.
        units: image (in the recording), row and column of each window's unit.
        recording: of a pass over the whole images, which saves computing the convolutions.
    """

    def __init__(
        self,
        windows: Float[Tensor, "n c h w"],
        grid: Grid,
        units: Int[Tensor, "n 3"],
        recording: ForwardCache | None = None,
    ) -> None:
        super().__init__()
        # The tensors are kept beside their grids: a freed one's id would be given to another.
        self._grids: dict[int, tuple[Tensor, Grid]] = {id(windows): (windows, grid)}
        self._units, self._recording, self._convolutions = units, recording, 0

    def units_in(self, output: Float[Tensor, "n maps h w"]) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"]]:
        """Rows and columns, in the windows of a layer's output, of the units themselves."""
        if id(output) not in self._grids:
            raise NotLocalError("the layer's output does not follow the image's places")
        rows, columns = self._grids[id(output)][1]
        if rows.step != 1 or columns.step != 1:
            raise NotLocalError("the layer's stride is not that of its receptive field")
        return rows.of_unit(self._units[:, 1]), columns.of_unit(self._units[:, 2])

    def __torch_function__(self, func: Callable, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation on windows."""
        kwargs = kwargs or {}
        inputs = [t for t in tensors_in([*args, *kwargs.values()]) if id(t) in self._grids]
        if not inputs:
            return func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        if name in ARGUMENTS:
            return self._slide(func, name, arguments(name, args, kwargs))
        if name in POINTWISE:
            return self._pointwise(func, name, args, kwargs, inputs)
        result = func(*args, **kwargs)
        if any(True for _ in tensors_in(result)) and not (name in VIEWS and leaves_space_alone(name, args, kwargs)):
            raise NotLocalError(f"{name or func} mixes places")
        return self._track(result, self._grids[id(inputs[0])][1])

    def _track(self, result: Any, grid: Grid) -> Any:
        shape = [span.held[1] - span.held[0] for span in grid]
        for output in tensors_in(result):
            if list(output.shape[-2:]) != shape:
                raise NotLocalError("places were joined or spread")
            self._grids[id(output)] = (output, grid)
        return result

    def _slide(self, func: Callable, name: str, given: dict[str, Any]) -> Any:
        """A convolution, a pooling or a padding: read the windows with their padding, then do without."""
        x = given.pop("input")
        grid = self._grids[id(x)][1]
        size = (grid[0].size, grid[1].size)
        window = window_of(name, {"input": x, **given}, size)
        if window is None:
            raise NotLocalError(f"{name} reads more than a window")
        if name == "pad":
            return self._pad(x, grid, window, given.get("value") or 0.0)
        if name == "avg_pool2d" and given.get("divisor_override") is None:
            hangs_over = window.outputs(size) != replace(window, ceil=False).outputs(size)
            if hangs_over or (any(window.before) and not given.get("count_include_pad", True)):
                raise NotLocalError("an average that counts the places inside of the border")
        spans = []
        for axis, out in zip((0, 1), window.outputs(size), strict=True):
            extent, stride, before = window.extent[axis], window.stride[axis], window.before[axis]
            span = grid[axis].above(extent, stride, before, out)
            low, high = span.held
            reads = (low * stride - before, (high - 1) * stride - before + extent)
            x = cut_to(x, axis - 2, grid[axis].held[0], reads, -torch.inf if "max" in name else 0.0)
            spans.append(span)
        if name.startswith("adaptive_"):
            pool = F.avg_pool2d if "avg" in name else F.max_pool2d
            result = pool(x, window.extent, window.stride)
        elif name == "conv2d":
            whole = self._recorded(given["weight"], (spans[0].size, spans[1].size))
            cut = None if whole is None else windows_of(whole, self._units, (spans[0], spans[1]))
            result = convolve(x, given, cut)
        else:
            result = func(x, **given | {"padding": 0, "ceil_mode": False})
        return self._track(result, (spans[0], spans[1]))

    def _recorded(self, weight: Tensor, size: Pair) -> Tensor | None:
        """What the next convolution gave for whole images; None where that is not known."""
        self._convolutions += 1
        if self._recording is None:
            return None
        return self._recording.output(self._convolutions - 1, weight, size)

    def _pad(self, x: Tensor, grid: Grid, window: Window, value: float) -> Tensor:
        spans = []
        for axis, size in zip((0, 1), window.outputs((grid[0].size, grid[1].size)), strict=True):
            before = window.before[axis]
            span = replace(grid[axis], start=grid[axis].start + before, size=size)
            x = cut_to(x, axis - 2, grid[axis].held[0] + before, span.held, value)
            spans.append(span)
        return self._track(x.view_as(x), (spans[0], spans[1]))

    def _pointwise(self, func: Callable, name: str, args: Any, kwargs: Any, inputs: list[Tensor]) -> Any:
        """Operands cut to the places that all of them hold."""
        if name == "batch_norm" and looks_at_the_batch(args, kwargs):
            raise NotLocalError("a batch norm that looks at the batch")
        if name in ("cat", "concat") and (args[1] if len(args) > 1 else kwargs.get("dim", 0)) not in (1, -3):
            raise NotLocalError("maps joined along another axis than that of the channels")
        if name not in ("batch_norm", "prelu"):
            for operand in tensors_in([*args, *kwargs.values()]):
                if id(operand) not in self._grids and any(n != 1 for n in operand.shape[-2:]):
                    raise NotLocalError(f"{name} with values that differ from place to place")
        grids = [self._grids[id(t)][1] for t in inputs]
        common = (_shared([grid[0] for grid in grids], name), _shared([grid[1] for grid in grids], name))

        def cut(value: Any) -> Any:
            if isinstance(value, list | tuple):
                return type(value)(cut(item) for item in value)
            if isinstance(value, Tensor) and id(value) in self._grids:
                for axis, span in enumerate(self._grids[id(value)][1]):
                    if span != common[axis]:
                        value = cut_to(value, axis - 2, span.held[0], common[axis].held, 0.0)
            return value

        own = [cut(arg) for arg in args]
        result = func(*own, **{key: cut(value) for key, value in kwargs.items()})
        in_place = name.startswith("__i") or (name.endswith("_") and not name.endswith("__"))
        if in_place and own[0] is not args[0]:
            return args[0]  # changed where it counts, through the view
        return self._track(result, common)


def _shared(spans: list[Span], name: str) -> Span:
    """The places that all spans hold."""
    first = spans[0]
    if any((span.step, span.size) != (first.step, first.size) for span in spans):
        raise NotLocalError(f"{name} of maps of different strides or sizes")
    start = max(span.start for span in spans)
    length = min(span.start + span.length for span in spans) - start
    if length < 1:
        raise NotLocalError("branches that see different places")
    return replace(first, start=start, length=length)
