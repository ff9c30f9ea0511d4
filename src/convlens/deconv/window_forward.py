"""Forward pass over the receptive-field windows of single units, with the values of the pass over whole images.

Each unit of a batch has its own position, and so its own window of its image. Every operation returns the window of its
output, a little smaller, up to the single unit, for a fraction of the work. Along each axis the units of a batch either
all have windows inside of the image, at any positions, or share one window, which ends at the borders of the maps;
beyond them an operation reads its padding as usual. The network's own code runs; an operation that combines positions
otherwise ends the pass with `NotLocalError`.

With it, projections of units of five layers are 14.3 (ZFNet), 6.7 (VGG-16) and 2.9 (ResNet-18) times as fast as by
Captum's deconvolution, which goes through whole images (`tests/bench/README.md`).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from jaxtyping import Float, Int
from torch import Tensor
from torch.overrides import TorchFunctionMode

from convlens.deconv.fast_conv import convolve
from convlens.deconv.forward_cache import ForwardCache
from convlens.ops.op_table import (
    Args,
    Kwargs,
    Pair,
    Window,
    arguments,
    border_divisor,
    classify,
    is_in_place,
    joins_other_axis,
    map_tensors,
    padding_value,
    spatial_operands,
    tensors_in,
    unpadded,
    window_of,
)
from convlens.ops.window_span import Grid, NotLocalError, Span, crop, crop_windows


class WindowForward(TorchFunctionMode):
    """Mode in which a network that is given windows of images computes windows of its maps.

    Args:
        windows: windows of the images, of equal size.
        grid: their positions in the images.
        units: image (in the cache), row and column of each window's unit.
        cache: of a pass over the whole images, whose convolutions are read instead of computed.
    """

    def __init__(
        self,
        windows: Float[Tensor, "n c h w"],
        grid: Grid,
        units: Int[Tensor, "n 3"],
        cache: ForwardCache | None = None,
    ) -> None:
        super().__init__()
        # The tensors are stored with their grids, since the id of a freed tensor may be reused.
        self._grids: dict[int, tuple[Tensor, Grid]] = {id(windows): (windows, grid)}
        self._units, self._cache, self._convolutions = units, cache, 0

    def unit_positions(self, output: Float[Tensor, "n maps h w"]) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"]]:
        """Return the rows and columns of the units in the windows of a layer's output.

        Raises:
            NotLocalError: the output is no window, or its stride is not the receptive field's.
        """
        if id(output) not in self._grids:
            raise NotLocalError("the layer's output does not follow the image's positions")
        rows, columns = self._grids[id(output)][1]
        if rows.step != 1 or columns.step != 1:
            raise NotLocalError("the layer's stride is not that of its receptive field")
        return rows.unit_positions(self._units[:, 1]), columns.unit_positions(self._units[:, 2])

    def __torch_function__(
        self, func: Callable, types: Sequence[type], args: Args = (), kwargs: Kwargs | None = None
    ) -> object:
        """Run an operation on windows.

        Raises:
            NotLocalError: the operation combines positions other than by a sliding window.
        """
        kwargs = kwargs or {}
        inputs = [t for t in tensors_in([*args, *kwargs.values()]) if id(t) in self._grids]
        if not inputs:
            return func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        kind = classify(name, args, kwargs)
        if kind == "window":
            return self._slide(func, name, arguments(name, args, kwargs))
        if kind == "pointwise":
            return self._pointwise(func, name, args, kwargs, inputs)
        if kind == "mixing":
            raise NotLocalError(f"{name} reads all positions")
        result = func(*args, **kwargs)
        if kind == "other" and any(True for _ in tensors_in(result)):
            raise NotLocalError(f"{name or func} mixes positions")
        return self._track(result, self._grids[id(inputs[0])][1])

    def _track(self, result: object, grid: Grid) -> object:
        """Store the grid of an operation's outputs."""
        shape = [high - low for low, high in (span.bounds for span in grid)]
        for output in tensors_in(result):
            if list(output.shape[-2:]) != shape:
                raise NotLocalError("positions are concatenated or broadcast")
            self._grids[id(output)] = (output, grid)
        return result

    def _slide(self, func: Callable, name: str, given: Kwargs) -> object:
        """Run a convolution, pooling or padding: crop the windows with their padding, then run it without padding."""
        x = given.pop("input")
        grid = self._grids[id(x)][1]
        size = (grid[0].size, grid[1].size)
        window = window_of(name, given, size)
        if window is None:
            raise NotLocalError(f"{name} has no window that is the same everywhere")
        if name == "pad":
            return self._pad(x, grid, window, given.get("value") or 0.0)
        if border_divisor(name, given, window, size):
            raise NotLocalError("an average pooling divides by fewer values at the border")
        spans = []
        for axis, count in zip((0, 1), window.outputs(size), strict=True):
            extent, stride, before = window.extent[axis], window.stride[axis], window.before[axis]
            span = grid[axis].slide(extent, stride, before, count)
            low, high = span.bounds
            reads = (low * stride - before, (high - 1) * stride - before + extent)
            x = crop(x, axis - 2, grid[axis].bounds[0], reads, padding_value(name))
            spans.append(span)
        above = (spans[0], spans[1])
        result = self._convolve(x, given, above) if name == "conv2d" else unpadded(func, name, given, window)(x)
        return self._track(result, above)

    def _convolve(self, x: Tensor, given: Kwargs, grid: Grid) -> Tensor:
        """Convolve windows, or crop the result out of the cache."""
        whole = None
        if self._cache is not None:
            whole = self._cache.output(self._convolutions, given["weight"], (grid[0].size, grid[1].size))
        self._convolutions += 1
        return convolve(x, given, None if whole is None else crop_windows(whole, self._units, grid))

    def _pad(self, x: Tensor, grid: Grid, window: Window, value: float) -> object:
        """Pad windows, where they are at the border."""
        size: Pair = (grid[0].size, grid[1].size)
        spans = []
        for axis, count in zip((0, 1), window.outputs(size), strict=True):
            before = window.before[axis]
            span = replace(grid[axis], start=grid[axis].start + before, size=count)
            x = crop(x, axis - 2, grid[axis].bounds[0] + before, span.bounds, value)
            spans.append(span)
        return self._track(x.view_as(x), (spans[0], spans[1]))

    def _pointwise(self, func: Callable, name: str, args: Args, kwargs: Kwargs, inputs: list[Tensor]) -> object:
        """Run a pointwise operation on operands cropped to the positions that all of them contain."""
        if joins_other_axis(name, args, kwargs):
            raise NotLocalError("maps are concatenated along another axis than the channels'")
        for operand in spatial_operands(name, args, kwargs):
            if id(operand) not in self._grids and any(n != 1 for n in operand.shape[-2:]):
                raise NotLocalError(f"{name} with values that differ between positions")
        grids = [self._grids[id(t)][1] for t in inputs]
        shared = (_intersection([grid[0] for grid in grids], name), _intersection([grid[1] for grid in grids], name))

        def cropped(value: Tensor) -> Tensor:
            for axis, span in enumerate(self._grids[id(value)][1] if id(value) in self._grids else ()):
                if span != shared[axis]:
                    value = crop(value, axis - 2, span.bounds[0], shared[axis].bounds, 0.0)
            return value

        own = map_tensors(cropped, args)
        result = func(*own, **map_tensors(cropped, kwargs))
        if is_in_place(name) and own[0] is not args[0]:
            return args[0]  # which was changed through the view
        return self._track(result, shared)


def _intersection(spans: list[Span], name: str) -> Span:
    """Return the positions that all spans contain."""
    first = spans[0]
    if any((span.step, span.size) != (first.step, first.size) for span in spans):
        raise NotLocalError(f"{name} of maps of different strides or sizes")
    start = max(span.start for span in spans)
    length = min(span.start + span.length for span in spans) - start
    if length < 1:
        raise NotLocalError("branches whose windows do not overlap")
    return replace(first, start=start, length=length)
