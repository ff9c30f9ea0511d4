"""Receptive fields of the layers of any network, traced operation by operation along a forward pass."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from convlens.errors import InputError
from convlens.ops.callers_code import MISTAKES
from convlens.ops.input_checks import LARGEST, check_count, check_network, shown
from convlens.ops.layer_access import UnreadableError, check_outputs, evaluating, forward_to
from convlens.ops.op_table import Args, Kwargs, Pair, Window, arguments, classify, tensors_in, window_of


@dataclass(frozen=True)
class ReceptiveField:
    """The window of pixels that the units of a layer depend on; pairs are (vertical, horizontal), in pixels.

    Attributes:
        size: height and width of the window.
        stride: distance of the windows of neighbouring units.
        start: top and left of the window of unit (0, 0); negative where it begins in the padding.
        local: False if each unit depends on the whole image, as after global pooling and in linear layers; ``size`` is
            then the image's, ``stride`` and ``start`` are 0.
    """

    size: Pair
    stride: Pair
    start: Pair
    local: bool = True

    def box(self, y: int = 0, x: int = 0) -> tuple[int, int, int, int]:
        """Return the window of unit (y, x) as (top, left, bottom, right), half-open, not clipped to the image.

        Raises:
            InputError: a coordinate is no integer.
        """
        y, x = (check_count(name, value, -LARGEST) for name, value in (("y", y), ("x", x)))
        top, left = self.start[0] + y * self.stride[0], self.start[1] + x * self.stride[1]
        return top, left, top + self.size[0], left + self.size[1]

    def _slide(self, window: Window) -> "ReceptiveField":
        """Return the receptive field of the outputs of a window operation."""
        size, stride, start = [], [], []
        for axis in (0, 1):
            size.append(self.size[axis] + (window.extent[axis] - 1) * self.stride[axis])
            stride.append(self.stride[axis] * window.stride[axis])
            start.append(self.start[axis] - window.before[axis] * self.stride[axis])
        return ReceptiveField((size[0], size[1]), (stride[0], stride[1]), (start[0], start[1]))

    def _widened(self, window: Window) -> "ReceptiveField":
        """Return the field extended by the neighbouring windows of a pooling that overlap its own."""
        margin = [(window.extent[axis] - 1) // window.stride[axis] * self.stride[axis] for axis in (0, 1)]
        size = (self.size[0] + 2 * margin[0], self.size[1] + 2 * margin[1])
        return ReceptiveField(size, self.stride, (self.start[0] - margin[0], self.start[1] - margin[1]))

    def _union(self, other: "ReceptiveField") -> "ReceptiveField | None":
        """Return the smallest field that contains both, or None if their strides differ."""
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
    """Mode that records the receptive field of each tensor of a forward pass.

    Args:
        images: the input, [1, c, h, w].
        overlapping: whether a max pooling's fields include the windows that overlap its own.
    """

    def __init__(self, images: Tensor, overlapping: bool) -> None:
        super().__init__()
        self.overlapping = overlapping
        self.whole = ReceptiveField((images.shape[-2], images.shape[-1]), (0, 0), (0, 0), local=False)
        # The tensors are stored with their fields, since the id of a freed tensor may be reused.
        self.fields: dict[int, tuple[Tensor, ReceptiveField]] = {
            id(images): (images, ReceptiveField((1, 1), (1, 1), (0, 0)))
        }

    def field(self, tensor: Tensor) -> ReceptiveField | None:
        """Return the receptive field of a tensor, or None if it does not depend on the images."""
        return self.fields.get(id(tensor), (None, None))[1]

    def __torch_function__(
        self, func: Callable, types: Sequence[type], args: Args = (), kwargs: Kwargs | None = None
    ) -> object:
        """Run an operation and record the receptive fields of its outputs."""
        kwargs = kwargs or {}
        inputs = [t for t in tensors_in([*args, *kwargs.values()]) if id(t) in self.fields]
        known = [field for field in map(self.field, inputs) if field is not None]
        sizes = [t.shape[-2:] for t in inputs]
        result = func(*args, **kwargs)
        if known:
            for output in tensors_in(result):
                above = self._above(getattr(func, "__name__", ""), args, kwargs, known, sizes, output.shape)
                self.fields[id(output)] = (output, above or self.whole)
        return result

    def _above(
        self,
        name: str,
        args: Args,
        kwargs: Kwargs,
        known: list[ReceptiveField],
        sizes: list[torch.Size],
        shape: torch.Size,
    ) -> ReceptiveField | None:
        """Return the field of an output of that shape, or None if it is not local."""
        kind = classify(name, args, kwargs) if all(field.local for field in known) else "mixing"
        if kind == "pointwise":
            if any(size != shape[-2:] for size in sizes):
                return None  # broadcast over positions, or concatenated along them
            field: ReceptiveField | None = known[0]
            for other in known[1:]:
                field = field._union(other) if field else None
            return field
        if kind == "view":
            return known[0] if len(shape) >= 2 and shape[-2:] == sizes[0] else None
        if kind != "window":
            return None
        window = window_of(name, arguments(name, args, kwargs), (sizes[0][0], sizes[0][1]))
        if window is None:
            return None
        above = known[0]._slide(window)
        return above._widened(window) if self.overlapping and "max" in name else above


def receptive_field(net: nn.Module, layer: str, input_size: Pair = (224, 224)) -> ReceptiveField:
    """Return the receptive field of a layer's units.

    Convolutions (with stride, dilation and padding), pooling, sums and concatenations (the smallest window that
    contains all branches), pointwise operations and views of the channels are followed; outputs of other operations
    are not local.

    Args:
        net: any network.
        layer: module path.
        input_size: height and width of the images in pixels.

    Raises:
        InputError: the layer is unknown, never reached or called twice, or the images are too small for the network.
    """
    return receptive_fields(net, [layer], input_size)[layer]


def receptive_fields(net: nn.Module, layers: list[str], input_size: Pair = (224, 224)) -> dict[str, ReceptiveField]:
    """Return the receptive fields of several layers by name, from one forward pass; see `receptive_field`."""
    check_network(net)
    height, width = _sides(input_size)
    reference = next(net.parameters(), torch.empty(0))
    # The first convolution that the network defines need not be the one that reads the image.
    in_channels = [module.in_channels for module in net.modules() if isinstance(module, nn.Conv2d)]
    errors = []
    for channels in dict.fromkeys([*in_channels[:1], 3, *in_channels]):
        try:
            images = torch.zeros(1, channels, height, width, device=reference.device, dtype=reference.dtype)
        except RuntimeError:
            raise InputError(f"input_size={shown(input_size)} fits into no memory: give smaller sides") from None
        try:
            check_outputs(net, images, layers)
        except UnreadableError as error:
            errors.append(error)
        else:
            return traced_fields(net, images, layers)
    raise errors[0]


def _sides(input_size: object) -> Pair:
    """Return height and width, checked."""
    try:
        height, width = (check_count("input_size", side) for side in input_size)  # type: ignore[attr-defined]
        return height, width
    except MISTAKES:  # an InputError is a ValueError
        raise InputError(f"input_size={shown(input_size)}: give height and width, two integers of at least 1") from None


def traced_fields(
    net: nn.Module, images: Tensor, layers: list[str], *, overlapping: bool = False
) -> dict[str, ReceptiveField]:
    """Return the receptive fields of layers that `check_outputs` has accepted.

    Args:
        net: any network.
        images: images of the size in question, [n, c, h, w].
        layers: module paths.
        overlapping: include the windows that overlap a unit's own at each max pooling; their signals compete with the
            unit's if unpooling overwrites (``unpool="overwrite"``).

    Raises:
        InputError: a layer does not depend on the images.
    """
    images = images[:1].clone()
    fields: dict[str, ReceptiveField] = {}
    with evaluating(net), torch.no_grad(), _Tracing(images, overlapping) as trace:

        def save_field(layer: str, output: Tensor) -> None:
            # Immediately, since a later operation in place may change the output and its field.
            if (field := trace.field(output)) is None:
                raise InputError(f"layer {layer!r} does not depend on the image: name a layer that does")
            fields[layer] = field

        forward_to(net, images, {layer: partial(save_field, layer) for layer in layers})
    return {layer: fields[layer] for layer in layers}
