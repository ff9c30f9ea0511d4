"""Receptive fields of any network: geometry carried along a forward pass, operation by operation."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from convlens.deconv.layers import check_outputs, evaluating, forward_to
from convlens.errors import InputError

Pair = tuple[int, int]


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

    def _slide(self, kernel: Pair, stride: Pair, before: Pair) -> "ReceptiveField":
        """The field above a window operation; ``kernel`` is the extent with dilation, ``before`` the padding."""
        return ReceptiveField(
            size=(self.size[0] + (kernel[0] - 1) * self.stride[0], self.size[1] + (kernel[1] - 1) * self.stride[1]),
            stride=(self.stride[0] * stride[0], self.stride[1] * stride[1]),
            start=(self.start[0] - before[0] * self.stride[0], self.start[1] - before[1] * self.stride[1]),
        )

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


# Operations that read, at each place, that place only; views are checked for leaving the two spatial axes alone.
_POINTWISE = {
    "relu", "relu_", "relu6", "hardtanh", "hardtanh_", "silu", "gelu", "elu", "selu", "leaky_relu", "leaky_relu_",
    "prelu", "hardswish", "hardsigmoid", "mish", "softplus", "sigmoid", "tanh", "threshold", "threshold_", "clamp",
    "clamp_", "clamp_min", "clamp_min_", "clip", "clip_", "dropout", "dropout2d", "feature_dropout", "batch_norm",
    "local_response_norm", "lrn", "add", "add_", "sub", "sub_", "rsub", "mul", "mul_", "div", "div_", "true_divide",
    "neg", "pow", "square", "sqrt", "rsqrt", "abs", "exp", "maximum", "minimum", "where", "cat", "concat",
    "contiguous", "clone", "detach", "to", "float", "double", "half", "requires_grad_", "identity", "copy_",
    "__add__", "__radd__", "__iadd__", "__sub__", "__rsub__", "__isub__", "__mul__", "__rmul__", "__imul__",
    "__truediv__",
}  # fmt: skip
_VIEWS = {"__getitem__", "unsqueeze", "squeeze", "chunk", "split", "view", "reshape", "transpose", "permute"}


def _pair(value: Any) -> Pair:
    if isinstance(value, int):
        return value, value
    return (value[0], value[0]) if len(value) == 1 else (value[0], value[1])


def _tensors(value: Any) -> Iterable[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)


class _Tracing(TorchFunctionMode):
    """Carries each tensor's receptive field through a forward pass."""

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self.whole = ReceptiveField((images.shape[-2], images.shape[-1]), (0, 0), (0, 0), local=False)
        # The tensors are kept beside their fields: a freed one's id would be given to another.
        self.fields: dict[int, tuple[Tensor, ReceptiveField]] = {
            id(images): (images, ReceptiveField((1, 1), (1, 1), (0, 0)))
        }

    def field(self, tensor: Tensor) -> ReceptiveField | None:
        return self.fields.get(id(tensor), (None, None))[1]

    def __torch_function__(self, func: Callable, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        inputs = [t for t in _tensors([*args, *kwargs.values()]) if id(t) in self.fields]
        known = [field for field in map(self.field, inputs) if field is not None]
        sizes = [t.shape[-2:] for t in inputs]
        result = func(*args, **kwargs)
        if known:
            for output in _tensors(result):
                above = self._above(getattr(func, "__name__", ""), args, kwargs, known, sizes, output)
                self.fields[id(output)] = (output, above or self.whole)
        return result

    def _above(
        self, name: str, args: Any, kwargs: Any, known: list[ReceptiveField], sizes: list[torch.Size], output: Tensor
    ) -> ReceptiveField | None:
        """Field of the output, or None where it is not local."""
        if not all(field.local for field in known):
            return None
        if name in _POINTWISE:
            if any(size != output.shape[-2:] for size in sizes):
                return None  # spread over space, or joined along it
            field: ReceptiveField | None = known[0]
            for other in known[1:]:
                field = field._union(other) if field else None
            return field
        if name in _VIEWS:
            fixed = output.dim() >= 2 and output.shape[-2:] == sizes[0] and _leaves_space_alone(name, args, kwargs)
            return known[0] if fixed else None
        window = _window(name, args, kwargs, sizes[0], output)
        return known[0]._slide(*window) if window else None


def _leaves_space_alone(name: str, args: Any, kwargs: Any) -> bool:
    dims = args[0].dim()
    if name == "transpose":
        return all(axis % dims < dims - 2 for axis in [*args[1:], *kwargs.values()])
    if name == "permute":
        order = args[1] if len(args) == 2 and not isinstance(args[1], int) else args[1:]
        return [axis % dims for axis in order[-2:]] == [dims - 2, dims - 1]
    return True


def _window(name: str, args: Any, kwargs: Any, size: torch.Size, output: Tensor) -> tuple[Pair, Pair, Pair] | None:
    """Kernel extent, stride and padding before the first value of a window operation; None for any other."""
    if name == "conv2d":
        given = dict(zip(("input", "weight", "bias", "stride", "padding", "dilation"), args, strict=False)) | kwargs
        dilation = _pair(given.get("dilation", 1))
        kernel = tuple(given["weight"].shape[2 + i] for i in (0, 1))
        extent = (dilation[0] * (kernel[0] - 1) + 1, dilation[1] * (kernel[1] - 1) + 1)
        padding = given.get("padding", 0)
        if isinstance(padding, str):
            before = tuple((e - 1) // 2 if padding == "same" else 0 for e in extent)
        else:
            before = _pair(padding)
        return extent, _pair(given.get("stride", 1)), before  # type: ignore[return-value]
    if name in ("max_pool2d", "max_pool2d_with_indices", "avg_pool2d"):
        names = ("input", "kernel_size", "stride", "padding", "dilation" if name != "avg_pool2d" else "ceil_mode")
        given = dict(zip(names, args, strict=False)) | kwargs
        kernel, dilation = _pair(given["kernel_size"]), _pair(given.get("dilation") or 1)
        extent = (dilation[0] * (kernel[0] - 1) + 1, dilation[1] * (kernel[1] - 1) + 1)
        return extent, _pair(given.get("stride") or kernel), _pair(given.get("padding") or 0)
    if name in ("adaptive_avg_pool2d", "adaptive_max_pool2d", "adaptive_max_pool2d_with_indices"):
        out = output.shape[-2:]
        if any(o == 1 and i != 1 for i, o in zip(size, out, strict=True)) or any(
            i % o for i, o in zip(size, out, strict=True)
        ):
            return None
        step = (size[0] // out[0], size[1] // out[1])
        return step, step, (0, 0)
    if name == "pad":
        given = dict(zip(("input", "pad", "mode"), args, strict=False)) | kwargs
        if given.get("mode", "constant") != "constant":
            return None
        left, _, top, _ = (*given["pad"], 0, 0)[:4]
        return (1, 1), (1, 1), (top, left)
    return None


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
    reference = next(net.parameters(), torch.empty(0))
    channels = next((m.in_channels for m in net.modules() if isinstance(m, nn.Conv2d)), 3)
    images = torch.zeros(1, channels, *input_size, device=reference.device, dtype=reference.dtype)
    check_outputs(net, images, layers)
    fields: dict[str, ReceptiveField] = {}
    with evaluating(net), torch.no_grad(), _Tracing(images) as trace:

        def note(layer: str, output: Tensor) -> None:
            # At once, since an operation in place may change the output, and its field, later on.
            if (field := trace.field(output)) is None:
                raise InputError(f"layer {layer!r} does not depend on the image: name a layer that does")
            fields[layer] = field

        forward_to(net, images, {layer: partial(note, layer) for layer in layers})
    return {layer: fields[layer] for layer in layers}
