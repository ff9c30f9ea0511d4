"""Receptive fields of any network: geometry carried along a forward pass, operation by operation."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from convlens.errors import InputError
from convlens.ops.layer_access import UnreadableError, check_outputs, evaluating, forward_to
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


@dataclass(frozen=True)
class ReceptiveField:
    """The input window that a unit of a layer sees; pairs are (vertical, horizontal), in pixels.

    Unit (y, x) sees the pixels from ``start + (y, x) * stride`` on, ``size`` of them; ``start`` may be negative, which
    means padding. Where the layer is not local (``local`` is False: after global pooling, in linear layers) each unit
    sees the whole image: ``size`` is the image's, ``stride`` and ``start`` are 0.
    """

    size: Pair
    stride: Pair
    start: Pair
    local: bool = True

    def box(self, y: int = 0, x: int = 0) -> tuple[int, int, int, int]:
        """Window of unit (y, x) as (top, left, bottom, right), half-open, not clipped to the image."""
        top, left = self.start[0] + y * self.stride[0], self.start[1] + x * self.stride[1]
        return top, left, top + self.size[0], left + self.size[1]

    def _slide(self, window: Window) -> "ReceptiveField":
        """The field above a window operation."""
        size, stride, start = [], [], []
        for axis in (0, 1):
            size.append(self.size[axis] + (window.extent[axis] - 1) * self.stride[axis])
            stride.append(self.stride[axis] * window.stride[axis])
            start.append(self.start[axis] - window.before[axis] * self.stride[axis])
        return ReceptiveField((size[0], size[1]), (stride[0], stride[1]), (start[0], start[1]))

    def _widened(self, window: Window) -> "ReceptiveField":
        """The field with the neighbouring windows of a pooling that overlap its own."""
        margin = [(window.extent[axis] - 1) // window.stride[axis] * self.stride[axis] for axis in (0, 1)]
        size = (self.size[0] + 2 * margin[0], self.size[1] + 2 * margin[1])
        return ReceptiveField(size, self.stride, (self.start[0] - margin[0], self.start[1] - margin[1]))

    def _union(self, other: "ReceptiveField") -> "ReceptiveField | None":
        if self.stride != other.stride:
            return None
        start, size = [], []
        for axis in (0, 1):
            begin = min(self.start[axis], other.start[axis])
            end = max(self.start[axis] + self.size[axis], other.start[axis] + other.size[axis])
            start.append(begin)
            size.append(end - begin)
        return ReceptiveField((size[0], size[1]), self.stride, (start[0], start[1]))


class _Tracing(TorchFunctionMode):
    """Carries each tensor's receptive field through a forward pass."""

    def __init__(self, images: Tensor, overlapping: bool) -> None:
        super().__init__()
        self.overlapping = overlapping
        self.whole = ReceptiveField((images.shape[-2], images.shape[-1]), (0, 0), (0, 0), local=False)
        # The tensors are kept beside their fields: a freed one's id would be given to another.
        self.fields: dict[int, tuple[Tensor, ReceptiveField]] = {
            id(images): (images, ReceptiveField((1, 1), (1, 1), (0, 0)))
        }

    def field(self, tensor: Tensor) -> ReceptiveField | None:
        return self.fields.get(id(tensor), (None, None))[1]

    def __torch_function__(self, func: Callable, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        inputs = [t for t in tensors_in([*args, *kwargs.values()]) if id(t) in self.fields]
        known = [field for field in map(self.field, inputs) if field is not None]
        sizes = [t.shape[-2:] for t in inputs]
        result = func(*args, **kwargs)
        if known:
            for output in tensors_in(result):
                above = self._above(getattr(func, "__name__", ""), args, kwargs, known, sizes, output)
                self.fields[id(output)] = (output, above or self.whole)
        return result

    def _above(
        self, name: str, args: Any, kwargs: Any, known: list[ReceptiveField], sizes: list[torch.Size], output: Tensor
    ) -> ReceptiveField | None:
        """Field of the output, or None where it is not local."""
        if not all(field.local for field in known):
            return None
        if name in POINTWISE:
            if name == "batch_norm" and looks_at_the_batch(args, kwargs):
                return None
            if any(size != output.shape[-2:] for size in sizes):
                return None  # spread over space, or joined along it
            field: ReceptiveField | None = known[0]
            for other in known[1:]:
                field = field._union(other) if field else None
            return field
        if name in VIEWS:
            fixed = output.dim() >= 2 and output.shape[-2:] == sizes[0] and leaves_space_alone(name, args, kwargs)
            return known[0] if fixed else None
        if name not in ARGUMENTS:
            return None
        window = window_of(name, arguments(name, args, kwargs), (sizes[0][0], sizes[0][1]))
        if window is None:
            return None
        above = known[0]._slide(window)
        return above._widened(window) if self.overlapping and "max" in name else above


def receptive_field(net: nn.Module, layer: str, input_size: Pair = (224, 224)) -> ReceptiveField:
    """Receptive field of a layer's units for images of ``input_size`` (height, width) pixels.

    Follows convolutions (with stride, dilation, padding), pooling, sums and concatenations (the smallest window that
    holds all branches), pointwise operations and views of the channels. Whatever else is met counts as not local.

    Raises:
        InputError: unknown layer, a layer never reached or called twice, or images too small for the network.
    """
    return receptive_fields(net, [layer], input_size)[layer]


def receptive_fields(net: nn.Module, layers: list[str], input_size: Pair = (224, 224)) -> dict[str, ReceptiveField]:
    """As ``receptive_field`` for several layers at once, in one forward pass."""
    if (
        isinstance(input_size, int)
        or len(input_size) != 2
        or not all(isinstance(side, int) and side > 0 for side in input_size)
    ):
        raise InputError(f"input_size={input_size}: give height and width, two whole numbers above 0")
    reference = next(net.parameters(), torch.empty(0))
    # The convolution that reads the image need not be the first that the network defines.
    told = [module.in_channels for module in net.modules() if isinstance(module, nn.Conv2d)]
    errors = []
    for channels in dict.fromkeys([*told[:1], 3, *told]):
        images = torch.zeros(1, channels, *input_size, device=reference.device, dtype=reference.dtype)
        try:
            check_outputs(net, images, layers)
        except UnreadableError as error:
            errors.append(error)
        else:
            return traced_fields(net, images, layers)
    raise errors[0]


def traced_fields(
    net: nn.Module, images: Tensor, layers: list[str], *, overlapping: bool = False
) -> dict[str, ReceptiveField]:
    """Receptive fields of layers that are known to be usable, for images such as these.

    ``overlapping`` counts in the neighbouring windows at each max pooling, as far as they overlap: those that a unit's
    signal competes with where ``unpool="overwrite"`` lets the last one win.
    """
    images = images[:1].clone()
    fields: dict[str, ReceptiveField] = {}
    with evaluating(net), torch.no_grad(), _Tracing(images, overlapping) as trace:

        def note(layer: str, output: Tensor) -> None:
            # At once, since an operation in place may change the output, and its field, later on.
            if (field := trace.field(output)) is None:
                raise InputError(f"layer {layer!r} does not depend on the image: name a layer that does")
            fields[layer] = field

        forward_to(net, images, {layer: partial(note, layer) for layer in layers})
    return {layer: fields[layer] for layer in layers}
