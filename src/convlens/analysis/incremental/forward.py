"""Incremental forward pass over images that differ from one image in a box each: only what a box changes is computed.

The network's own code runs. Each operation computes, for each image, the box of its output that depends on the changed
box of its input, and reads the surroundings from the unchanged image's maps. The values are those of whole images. An
operation that mixes positions (flattening, global pooling, attention) gets whole maps, and all operations after it are
computed on whole maps. `evaluate` says how much faster that is.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from convlens.analysis.incremental.box_windows import pad_cells, slide_over_boxes
from convlens.analysis.incremental.boxes import (
    ChangedRegion,
    TooManyElementsError,
    cells_as_rows,
    gather_maps,
    maps_as_rows,
    rows_as_cells,
    rows_as_maps,
    union,
)
from convlens.analysis.incremental.channels import (
    CHANNEL_VIEWS,
    MIX_CHANNELS,
    convolve_channels,
    select_channels,
    selects_channels,
)
from convlens.ops.op_table import (
    Args,
    Kwargs,
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
from convlens.ops.window_span import NotLocalError

_SIZE_FUNCTIONS = (torch.Tensor.shape.__get__, torch.Tensor.size)  # type: ignore[attr-defined]
_PROPERTIES = {"__get__", "dim", "is_floating_point", "is_complex", "get_device", "element_size"}


class IncrementalForward(TorchFunctionMode):
    """While active, a network called on the result of `start` computes the outputs of all images.

    Args:
        max_elements: number of elements that an operation may read and write.
        channel_subset: a convolution, by its 1-based number in the pass, and the only output channels of it that are
            needed; the others are zero.
        shared_activations: outputs of the window operations for the unchanged image, which earlier passes over the
            same image have computed; missing ones are appended.

    Attributes:
        peak_elements: number of elements that the largest operation has read and written.
        full_operations: names of the operations that got whole maps, in order.
        num_convolutions: number of convolutions so far.
        channels_separate: whether no operation since the last convolution has mixed channels.
    """

    def __init__(
        self,
        max_elements: int,
        channel_subset: tuple[int, list[int]] | None = None,
        shared_activations: list[Tensor] | None = None,
    ) -> None:
        super().__init__()
        self._regions = WeakTensorKeyDictionary()
        self._max_elements, self._channel_subset, self._num_windows = max_elements, channel_subset, 0
        self._shared_activations: list[Tensor] = [] if shared_activations is None else shared_activations
        self.peak_elements = 0
        self.full_operations: list[str] = []
        self.num_convolutions = 0
        self.channels_separate = False

    def start(
        self, image: Float[Tensor, "1 c h w"], bounds: Int[Tensor, "n 4"], pixels: Float[Tensor, "cells c"]
    ) -> Tensor:
        """Return the network's input.

        Args:
            image: the unchanged image.
            bounds: top, left, bottom, right (half-open) of each image's changed box.
            pixels: the new content of the boxes, box after box, row by row.
        """
        region = ChangedRegion.from_bounds((image.shape[2], image.shape[3]), bounds)
        rows = torch.cat([maps_as_rows(image), pixels, pixels.new_zeros(1, pixels.shape[1])])
        return self._track(rows_as_cells(rows), region)

    def maps(self, output: Tensor, channels: list[int] | None = None) -> Tensor:
        """Return some channels of a tensor of the network for all images [n, c, h, w]; None selects all channels.

        Raises:
            TooManyElementsError: the maps have more elements than allowed.
        """
        region = self._regions.get(output)
        if region is None:
            return select_channels(output, channels)
        with torch._C.DisableTorchFunction():  # the mode is active if this is called by a hook of a layer
            rows = cells_as_rows(output)
        rows = select_channels(rows, channels)
        self._reserve(len(region.bounds) * region.size[0] * region.size[1] * rows.shape[1])
        every = torch.arange(len(region.bounds))
        zeros = torch.zeros_like(every)
        return gather_maps(rows, region.window_cells(every, zeros, zeros, region.size, len(rows)), region.size)

    def __torch_function__(
        self, func: Callable, types: Sequence[type], args: Args = (), kwargs: Kwargs | None = None
    ) -> object:
        """Run an operation on cells, or on whole maps if it mixes positions."""
        kwargs = kwargs or {}
        inputs = [t for t in tensors_in([*args, *kwargs.values()]) if t in self._regions]
        if not inputs:
            return func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        if func in _SIZE_FUNCTIONS:
            return self._shape(inputs[0], *args[1:], **kwargs)
        if name in _PROPERTIES:
            value = func(*args, **kwargs)
            if isinstance(value, Tensor):
                raise NotLocalError("a view such as .data")  # what is written to it would be lost
            return value
        result: object = None
        self.channels_separate &= name not in MIX_CHANNELS | CHANNEL_VIEWS
        kind = classify(name, args, kwargs)
        if kind == "window":
            result = self._window_operation(func, name, arguments(name, args, kwargs))
        elif kind == "pointwise" and self._keeps_positions_apart(name, args, kwargs):
            result = self._pointwise(func, name, args, kwargs, inputs)
        elif selects_channels(name, args, kwargs):
            result = self._track_all(func(*args, **kwargs), self._regions[inputs[0]])
        return self._on_whole_maps(func, name, args, kwargs) if result is None else result

    def _track(self, cells: Tensor, region: ChangedRegion) -> Tensor:
        self._regions[cells] = region
        return cells

    def _track_all(self, result: object, region: ChangedRegion) -> object:
        for output in tensors_in(result):
            self._track(output, region)
        return result

    def _reserve(self, elements: int) -> None:
        """Count the elements of an operation.

        Raises:
            TooManyElementsError: they are more than allowed.
        """
        if elements > self._max_elements:
            raise TooManyElementsError
        self.peak_elements = max(self.peak_elements, elements)

    def _shape(self, cells: Tensor, dim: int | None = None) -> torch.Size | int:
        """Return the size of the maps [n, c, h, w] that the network expects."""
        region = self._regions[cells]
        size = torch.Size([len(region.bounds), *cells.shape[1:-2], *region.size])
        return size if dim is None else size[dim]

    def _on_whole_maps(self, func: Callable, name: str, args: Args, kwargs: Kwargs) -> object:
        """Run an operation on whole maps."""
        if name == "__setitem__" or (name.endswith("_") and not name.startswith("__")):
            raise NotLocalError(f"{name} in place")
        result = func(*map_tensors(self.maps, args), **map_tensors(self.maps, kwargs))
        self.channels_separate = False
        if any(True for _ in tensors_in(result)):
            self.full_operations.append(name or str(func))
        return result

    def _window_operation(self, func: Callable, name: str, given: Kwargs) -> Tensor | None:
        """Run a convolution, pooling or padding on the changed boxes; None if it needs whole maps."""
        cells = given.pop("input")
        region = self._regions[cells]
        rows = cells_as_rows(cells)
        window = window_of(name, {"input": cells, **given}, region.size)
        if window is None or given.get("return_indices") or name.endswith("_with_indices"):
            return None
        if border_divisor(name, given, window, region.size):
            return None
        if name == "pad":
            if min(*window.before, *window.after) < 0:
                return None
            return self._track(*pad_cells(rows, region, window, self._shared_output(func, given, rows, region)))
        run = func
        if name == "conv2d":
            self.num_convolutions, self.channels_separate = self.num_convolutions + 1, given.get("groups", 1) == 1
            if window == Window((1, 1), (1, 1)):
                return self._track(func(cells, **given), region)
            if self._channel_subset and self._channel_subset[0] == self.num_convolutions:
                run = partial(convolve_channels, func, self._channel_subset[1])
        shared = self._shared_output(func, given, rows, region)
        rows[-1] = padding_value(name)
        outputs = region.output_bounds(window, (shared.shape[2], shared.shape[3]))
        read = len(rows) - region.size[0] * region.size[1]
        written = int((outputs[:, 2:] - outputs[:, :2]).prod(1).sum())
        self._reserve(read * rows.shape[1] + written * shared.shape[1])
        return self._track(*slide_over_boxes(unpadded(run, name, given, window), rows, region, window, outputs, shared))

    def _shared_output(
        self, func: Callable, given: Kwargs, rows: Tensor, region: ChangedRegion
    ) -> Float[Tensor, "1 c h w"]:
        """Return a window operation's output for the unchanged image, computed by the first pass only."""
        if self._num_windows == len(self._shared_activations):
            unchanged = rows_as_maps(rows[: region.size[0] * region.size[1]], region.size)
            self._shared_activations.append(func(unchanged, **given))
        self._num_windows += 1
        return self._shared_activations[self._num_windows - 1]

    def _keeps_positions_apart(self, name: str, args: Args, kwargs: Kwargs) -> bool:
        """Return whether the other operands of a pointwise call have the same values at all positions."""
        if name in ("cat", "concat"):
            all_tracked = all(t in self._regions for t in tensors_in([*args, *kwargs.values()]))
            return all_tracked and not joins_other_axis(name, args, kwargs)
        others = [t for t in spatial_operands(name, args, kwargs) if t not in self._regions]
        return all(all(n == 1 for n in (*t.shape[:-3], *t.shape[-2:])) for t in others)

    def _pointwise(self, func: Callable, name: str, args: Args, kwargs: Kwargs, inputs: list[Tensor]) -> object:
        """Run an operation on each cell; operands with different boxes get boxes that contain those of all."""
        regions = [self._regions[t] for t in inputs]
        joint = regions[0]
        if any(region.size != joint.size for region in regions):
            return None
        if any(not region.same_as(joint) for region in regions):
            joint = ChangedRegion.from_bounds(joint.size, union([region.bounds for region in regions]))
        if is_in_place(name) and not self._regions[args[0]].same_as(joint):
            # The network may continue with the tensor that it has, so that this one gets the new boxes.
            args[0].data = self._in_layout(joint, args[0])
            self._track(args[0], joint)
        convert = partial(self._in_layout, joint)
        return self._track_all(func(*map_tensors(convert, args), **map_tensors(convert, kwargs)), joint)

    def _in_layout(self, joint: ChangedRegion, cells: Tensor) -> Tensor:
        """Return cells in the layout of another region; a tensor that is not tracked stays as it is."""
        region = self._regions.get(cells)
        if region is None or region.same_as(joint):
            return cells
        rows = cells_as_rows(cells)
        return rows_as_cells(rows.index_select(0, region.cells_in_layout(joint, len(rows)).to(rows.device)))
