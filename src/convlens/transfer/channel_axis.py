"""Trace which axis of a layer's maps holds the channels: [n, c, h, w], or [n, h, w, c] as in Swin and ConvNeXt blocks.

The axis follows from the operations of a forward pass, not from sizes, which are ambiguous where the number of channels
equals a side of the map: convolutions and batch norms have their channels in axis 1, linear layers and layer norms in
the last axis; permutations and reshapes move it, other operations keep it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from convlens.ops.layer_access import find_layer

FIRST = {
    "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "batch_norm",
    "instance_norm", "group_norm", "local_response_norm", "pixel_shuffle", "pixel_unshuffle",
}  # fmt: skip
LAST = {"linear", "bilinear", "layer_norm", "rms_norm", "embedding", "matmul", "__matmul__"}
MOVES = {"permute", "transpose", "transpose_", "swapaxes", "swapdims", "movedim", "moveaxis"}
RESHAPES = {"reshape", "view", "flatten", "unflatten", "reshape_as", "view_as", "_unsafe_view"}
SIDES = (2, 3, 5, 7, 11, 13, 17, 19)
"""Different sizes, by which a moved axis is recognized."""


class ChannelAxisMode(TorchFunctionMode):
    """Follows the channel axis of all tensors through the operations of a forward pass.

    The tensors of the pass are kept alive: use it with few images.
    """

    def __init__(self) -> None:
        super().__init__()
        self._axes: dict[int, tuple[Tensor, int]] = {}

    def axis(self, tensor: Tensor) -> int | None:
        """Return the channel axis of a tensor, None if unknown."""
        found = self._axes.get(id(tensor))
        return None if found is None else found[1]

    def __torch_function__(
        self,
        func: Callable[..., Tensor],
        types: Iterable[type],
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        """Call the function and record the channel axis of its result."""
        result: object = func(*args, **(kwargs or {}))
        for output in result if isinstance(result, tuple | list) else (result,):
            if isinstance(output, Tensor) and (axis := self._axis_of(func, args, kwargs or {}, output)) is not None:
                self._axes[id(output)] = (output, axis)
        return result

    def _axis_of(
        self, func: Callable[..., Tensor], args: tuple[object, ...], kwargs: Mapping[str, object], output: Tensor
    ) -> int | None:
        name = getattr(func, "__name__", "")
        if name in FIRST:
            return 1
        if name in LAST:
            return output.dim() - 1
        for given in _tensors((*args, *kwargs.values())):
            if (axis := self.axis(given)) is None:
                continue
            if name in MOVES:
                return _moved(func, args, kwargs, given, axis)
            if name in RESHAPES:
                return _reshaped(given.shape, output.shape, axis)
            if given.dim() == output.dim():
                return axis
        return None


def _tensors(values: Iterable[object]) -> Iterator[Tensor]:
    """Yield tensors, also those in lists, as ``torch.cat`` takes them."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from (item for item in value if isinstance(item, Tensor))


def _moved(
    func: Callable[..., Tensor], args: tuple[object, ...], kwargs: Mapping[str, object], given: Tensor, axis: int
) -> int:
    """Return where a permutation moves an axis, by applying it to a tensor whose sides all differ."""
    sample = torch.empty(SIDES[: given.dim()], device="meta")
    swapped = [sample if value is given else value for value in args]
    moved = func(*swapped, **{key: sample if value is given else value for key, value in kwargs.items()})
    return tuple(moved.shape).index(SIDES[axis])


def _reshaped(before: Sequence[int], after: Sequence[int], axis: int) -> int | None:
    """Return the axis after a reshape that keeps it and all axes on one side of it, else None."""
    if tuple(before[: axis + 1]) == tuple(after[: axis + 1]):
        return axis
    from_end = len(before) - axis
    if tuple(before[-from_end:]) == tuple(after[-from_end:]):
        return len(after) - from_end
    return None


@contextmanager
def tracing_channel_axes(net: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, int]]:
    """Record the channel axis of layers' outputs during forward passes in the ``with`` block; 1 where it is unknown.

    Raises:
        InputError: a layer is unknown.
    """
    axes = dict.fromkeys(layers, 1)
    mode = ChannelAxisMode()

    def record(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: object, output: object) -> None:
            axis = mode.axis(output) if isinstance(output, Tensor) else None
            axes[name] = 1 if axis is None else axis

        return hook

    modules = {name: find_layer(net, name) for name in axes}
    handles = [module.register_forward_hook(record(name)) for name, module in modules.items()]
    try:
        with mode:
            yield axes
    finally:
        for handle in handles:
            handle.remove()
