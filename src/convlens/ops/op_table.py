"""Where operations read: kernels, strides and paddings of calls, and which calls keep each place to itself.

Pairs are (vertical, horizontal).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from types import EllipsisType
from typing import Any

from torch import Tensor

Pair = tuple[int, int]

# Operations that read, at each place, that place only.
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
# Views, to be checked for leaving the two spatial axes alone.
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


@dataclass(frozen=True)
class Window:
    """What an output value reads: ``extent`` places (dilation counted in), ``stride`` further for each output.

    ``before`` and ``after`` are the padding; ``ceil`` says whether a last window may hang over it.
    """

    extent: Pair
    stride: Pair
    before: Pair = (0, 0)
    after: Pair = (0, 0)
    ceil: bool = False

    def outputs(self, size: Pair) -> Pair:
        """How many values come out of maps of that size, by PyTorch's rules."""
        counts = []
        for n, extent, stride, before, after in zip(
            size, self.extent, self.stride, self.before, self.after, strict=True
        ):
            room = n + before + after - extent
            count = (-(-room // stride) if self.ceil else room // stride) + 1
            # A window may hang over the padding, but not begin there.
            counts.append(count - (self.ceil and (count - 1) * stride >= n + before))
        return counts[0], counts[1]


def arguments(name: str, args: Any, kwargs: Any) -> dict[str, Any]:
    """The arguments of a window operation by name."""
    return dict(zip(ARGUMENTS[name], args, strict=False)) | kwargs


def pair(value: Any) -> Pair:
    """A number or one or two numbers as two."""
    if isinstance(value, int):
        return value, value
    return (value[0], value[0]) if len(value) == 1 else (value[0], value[1])


def tensors_in(value: Any) -> Iterable[Tensor]:
    """All tensors in nested lists and tuples."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors_in(item)


def leaves_space_alone(name: str, args: Any, kwargs: Any) -> bool:
    """Whether one of `VIEWS` can only concern the axes before the last two."""
    dims = args[0].dim()
    if name == "__getitem__":
        return _takes_all_places(args[1] if isinstance(args[1], tuple) else (args[1],), dims)
    if name == "transpose":
        return all(axis % dims < dims - 2 for axis in [*args[1:], *kwargs.values()])
    if name == "permute":
        order = args[1] if len(args) == 2 and not isinstance(args[1], int) else args[1:]
        return [axis % dims for axis in order[-2:]] == [dims - 2, dims - 1]
    return True


def looks_at_the_batch(args: Any, kwargs: Any) -> bool:
    """Whether a batch norm takes the statistics of what it is given, from all places."""
    return bool(kwargs.get("training") or (len(args) > 5 and args[5]))


def _takes_all_places(index: tuple, dims: int) -> bool:
    """Whether an index leaves the last two axes as they are."""
    if any(not isinstance(item, int | slice | EllipsisType | None) for item in index):
        return False
    if Ellipsis in index:
        after = [item for item in index[index.index(Ellipsis) + 1 :] if item is not None]
    else:
        used = [item for item in index if item is not None]
        after = used[max(0, dims - 2) :] if len(used) > dims - 2 else []
    return all(item == slice(None) for item in after[-2:])


def window_of(name: str, given: dict[str, Any], size: Pair) -> Window | None:
    """The window of an operation on maps of that size; None if it has none that is everywhere the same."""
    if name == "conv2d":
        return _conv_window(given)
    if name in ("max_pool2d", "max_pool2d_with_indices", "avg_pool2d"):
        kernel, padding = pair(given["kernel_size"]), pair(given.get("padding") or 0)
        stride, ceil = pair(given.get("stride") or kernel), bool(given.get("ceil_mode"))
        return Window(_extent(kernel, pair(given.get("dilation") or 1)), stride, padding, padding, ceil)
    if name.startswith("adaptive_"):
        wanted = given["output_size"]
        rows, columns = (wanted, wanted) if isinstance(wanted, int | None) else wanted
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


def _conv_window(given: dict[str, Any]) -> Window:
    kernel = given["weight"].shape
    extent = _extent((kernel[2], kernel[3]), pair(given.get("dilation", 1)))
    padding = given.get("padding", 0)
    if padding == "same":
        before = ((extent[0] - 1) // 2, (extent[1] - 1) // 2)
        after = (extent[0] - 1 - before[0], extent[1] - 1 - before[1])
    else:
        before = after = (0, 0) if padding == "valid" else pair(padding)
    return Window(extent, pair(given.get("stride", 1)), before, after)
