"""Classification of torch's operations: pointwise, sliding windows (kernel, stride, padding), views of the channels.

Pairs are (vertical, horizontal).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import EllipsisType
from typing import Any, Literal

from torch import Tensor
from torch.nn import functional as F

Pair = tuple[int, int]
Args = tuple[Any, ...]
Kwargs = dict[str, Any]
Kind = Literal["window", "pointwise", "view", "mixing", "other"]

# Operations whose output at each position depends on the inputs at that position only.
POINTWISE = {
    "relu", "relu_", "relu6", "hardtanh", "hardtanh_", "silu", "gelu", "elu", "selu", "leaky_relu", "leaky_relu_",
    "prelu", "hardswish", "hardsigmoid", "mish", "softplus", "sigmoid", "tanh", "threshold", "threshold_", "clamp",
    "clamp_", "clamp_min", "clamp_min_", "clip", "clip_", "dropout", "dropout2d", "feature_dropout", "batch_norm",
    "local_response_norm", "lrn", "add", "add_", "sub", "sub_", "rsub", "mul", "mul_", "div", "div_", "true_divide",
    "neg", "pow", "square", "sqrt", "rsqrt", "abs", "exp", "maximum", "minimum", "where", "cat", "concat",
    "contiguous", "clone", "detach", "to", "float", "double", "half", "requires_grad_", "identity", "copy_",
    "__add__", "__radd__", "__iadd__", "__sub__", "__rsub__", "__isub__", "__mul__", "__rmul__", "__imul__",
    "__truediv__", "gt", "ge", "lt", "le", "eq", "ne",
}  # fmt: skip
# Views, some of whose calls leave the two spatial axes alone.
VIEWS = {"__getitem__", "unsqueeze", "squeeze", "chunk", "split", "view", "reshape", "transpose", "permute"}

_POOL = ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
_ADAPTIVE = ("input", "output_size", "return_indices")
ARGUMENTS = {
    "conv2d": ("input", "weight", "bias", "stride", "padding", "dilation", "groups"),
    "max_pool2d": _POOL,
    "max_pool2d_with_indices": _POOL,
    "avg_pool2d": ("input", "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override"),
    "adaptive_avg_pool2d": _ADAPTIVE,
    "adaptive_max_pool2d": _ADAPTIVE,
    "adaptive_max_pool2d_with_indices": _ADAPTIVE,
    "pad": ("input", "pad", "mode", "value"),
}
"""The names of the arguments of the window operations, in order."""
CHANNEL_PARAMETERS = {"batch_norm", "prelu"}
"""Pointwise operations whose other operands have one value per channel."""


@dataclass(frozen=True)
class Window:
    """The sliding window of an operation.

    Attributes:
        extent: size of the window, dilation included.
        stride: distance of the windows of neighbouring outputs.
        before: padding above and left of the maps.
        after: padding below and right of the maps.
        ceil: whether the number of outputs is rounded up, so that the last window may exceed the padding.
    """

    extent: Pair
    stride: Pair
    before: Pair = (0, 0)
    after: Pair = (0, 0)
    ceil: bool = False

    def outputs(self, size: Pair) -> Pair:
        """Return the number of outputs (vertical, horizontal) for maps of that size."""
        counts = []
        for n, extent, stride, before, after in zip(
            size, self.extent, self.stride, self.before, self.after, strict=True
        ):
            room = n + before + after - extent
            count = (-(-room // stride) if self.ceil else room // stride) + 1
            # A window may exceed the padding, but not begin there.
            counts.append(count - (self.ceil and (count - 1) * stride >= n + before))
        return counts[0], counts[1]


def classify(name: str, args: Args, kwargs: Kwargs) -> Kind:
    """Return how an operation, by its function's name, combines the positions of its inputs.

    ``window`` operations are those of `ARGUMENTS`, see `window_of`; ``pointwise`` ones keep positions apart, if their
    operands have the same size; a ``view`` selects or reorders axes before the last two, if the output has the same
    height and width. ``mixing`` operations combine all positions; nothing is known of ``other`` ones.
    """
    if name in ARGUMENTS:
        return "window"
    if name == "batch_norm" and uses_batch_statistics(args, kwargs):
        return "mixing"
    if name in POINTWISE:
        return "pointwise"
    return "view" if name in VIEWS and leaves_space_alone(name, args, kwargs) else "other"


def is_in_place(name: str) -> bool:
    """Return whether an operation changes its first operand, by the function's name."""
    return name.startswith("__i") or (name.endswith("_") and not name.endswith("__"))


def joins_other_axis(name: str, args: Args, kwargs: Kwargs) -> bool:
    """Return whether the call is a concatenation along another axis than the channels'."""
    return name in ("cat", "concat") and (args[1] if len(args) > 1 else kwargs.get("dim", 0)) not in (1, -3)


def spatial_operands(name: str, args: Args, kwargs: Kwargs) -> Iterable[Tensor]:
    """Return the tensors of a pointwise call whose last two axes are spatial: all but parameters by channel."""
    return () if name in CHANNEL_PARAMETERS else tensors_in([*args, *kwargs.values()])


def arguments(name: str, args: Args, kwargs: Kwargs) -> dict[str, Any]:
    """Return the arguments of a window operation by name."""
    return dict(zip(ARGUMENTS[name], args, strict=False)) | kwargs


def border_divisor(name: str, given: Kwargs, window: Window, size: Pair) -> bool:
    """Return whether the call is an average pooling that divides by fewer values at the border of maps of ``size``."""
    if name != "avg_pool2d" or given.get("divisor_override") is not None:
        return False
    exceeds = window.outputs(size) != replace(window, ceil=False).outputs(size)
    return exceeds or (any(window.before) and not given.get("count_include_pad", True))


def padding_value(name: str) -> float:
    """Return the value that a convolution or pooling reads outside of the maps."""
    return -float("inf") if "max" in name else 0.0


def unpadded(func: Callable, name: str, given: Kwargs, window: Window) -> Callable[[Tensor], Any]:
    """Return a convolution or pooling of an input that contains its padding already.

    Args:
        func: the operation.
        name: its name.
        given: its arguments by name, without the input.
        window: its window; an adaptive pooling becomes a plain one with this window.
    """
    if name.startswith("adaptive_"):
        pool = F.avg_pool2d if "avg" in name else F.max_pool2d
        return partial(pool, kernel_size=window.extent, stride=window.stride)
    return partial(func, **given | {"padding": 0} | ({} if name == "conv2d" else {"ceil_mode": False}))


def pair(value: int | Sequence[int]) -> Pair:
    """Return a number, or one or two numbers, as a pair."""
    if isinstance(value, int):
        return value, value
    return (value[0], value[0]) if len(value) == 1 else (value[0], value[1])


def tensors_in(value: object) -> Iterable[Tensor]:
    """Iterate over the tensors in nested lists and tuples."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors_in(item)


def map_tensors(convert: Callable[[Tensor], Tensor], value: Any) -> Any:
    """Return arguments of a call with the tensors in nested lists, tuples and dictionaries converted."""
    if isinstance(value, dict):
        return {key: map_tensors(convert, item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map_tensors(convert, item) for item in value)
    return convert(value) if isinstance(value, Tensor) else value


def leaves_space_alone(name: str, args: Args, kwargs: Kwargs) -> bool:
    """Return whether a call of one of `VIEWS` concerns only the axes before the last two, if height and width stay."""
    if not args or not isinstance(args[0], Tensor):
        return False
    dims = args[0].dim()
    if name == "__getitem__":
        return _selects_all_positions(args[1] if isinstance(args[1], tuple) else (args[1],), dims)
    if name == "transpose":
        return all(axis % dims < dims - 2 for axis in [*args[1:], *kwargs.values()])
    if name == "permute":
        order = args[1] if len(args) == 2 and not isinstance(args[1], int) else args[1:]
        return [axis % dims for axis in order[-2:]] == [dims - 2, dims - 1]
    return True


def uses_batch_statistics(args: Args, kwargs: Kwargs) -> bool:
    """Return whether a batch norm normalizes by the statistics of its input."""
    return bool(kwargs.get("training") or (len(args) > 5 and args[5]))


def _selects_all_positions(index: tuple[object, ...], dims: int) -> bool:
    """Return whether an index leaves the last two axes as they are."""
    if any(not isinstance(item, int | slice | EllipsisType | None) for item in index):
        return False
    if Ellipsis in index:
        after = [item for item in index[index.index(Ellipsis) + 1 :] if item is not None]
    else:
        used = [item for item in index if item is not None]
        after = used[max(0, dims - 2) :] if len(used) > dims - 2 else []
    return all(item == slice(None) for item in after[-2:])


def window_of(name: str, given: Kwargs, size: Pair) -> Window | None:
    """Return the window of an operation on maps of ``size``, or None if it is not the same everywhere.

    Args:
        name: of an operation in `ARGUMENTS`.
        given: its arguments by name.
        size: height and width of the input.
    """
    if name == "conv2d":
        return _conv_window(given)
    if name in ("max_pool2d", "max_pool2d_with_indices", "avg_pool2d"):
        kernel, padding = pair(given["kernel_size"]), pair(given.get("padding") or 0)
        stride, ceil = pair(given.get("stride") or kernel), bool(given.get("ceil_mode"))
        return Window(_extent(kernel, pair(given.get("dilation") or 1)), stride, padding, padding, ceil)
    if name.startswith("adaptive_"):
        output_size = given["output_size"]
        rows, columns = (output_size, output_size) if isinstance(output_size, int | None) else output_size
        out = (size[0] if rows is None else rows, size[1] if columns is None else columns)
        if any((o == 1 and n != 1) or n % o for n, o in zip(size, out, strict=True)):
            return None
        step = (size[0] // out[0], size[1] // out[1])
        return Window(step, step)
    if name == "pad" and given.get("mode", "constant") == "constant" and not any(given["pad"][4:]):
        left, right, top, bottom = (*given["pad"], 0, 0)[:4]
        return Window((1, 1), (1, 1), (top, left), (bottom, right))
    return None


def _extent(kernel: Pair, dilation: Pair) -> Pair:
    return dilation[0] * (kernel[0] - 1) + 1, dilation[1] * (kernel[1] - 1) + 1


def _conv_window(given: Kwargs) -> Window:
    kernel = given["weight"].shape
    extent = _extent((kernel[2], kernel[3]), pair(given.get("dilation", 1)))
    padding = given.get("padding", 0)
    if padding == "same":
        before = ((extent[0] - 1) // 2, (extent[1] - 1) // 2)
        after = (extent[0] - 1 - before[0], extent[1] - 1 - before[1])
    else:
        before = after = (0, 0) if padding == "valid" else pair(padding)
    return Window(extent, pair(given.get("stride", 1)), before, after)
