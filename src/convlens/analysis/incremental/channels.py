"""Operations on a subset of the channels of feature maps."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from convlens.ops.op_table import Args, Kwargs

MIX_CHANNELS = {"local_response_norm", "lrn", "cat", "concat"}
"""Pointwise operations whose output channels depend on other input channels."""
CHANNEL_VIEWS = {"__getitem__", "chunk", "split", "narrow"}
"""Views some of whose calls select channels."""


def select_channels(output: Tensor, channels: list[int] | None) -> Tensor:
    """Return some channels of a tensor [n, c, ...]; None selects all."""
    return output if channels is None else output[:, channels]


def convolve_channels(conv2d: Callable[..., Tensor], channels: list[int], block: Tensor, **given: Any) -> Tensor:
    """Compute some output channels of a convolution and return all of them, the others zero.

    Args:
        conv2d: the convolution.
        channels: indices of the output channels.
        block: the input.
        given: the convolution's other arguments by name.
    """
    weight, bias = given["weight"], given.get("bias")
    some = conv2d(block, **given | {"weight": weight[channels], "bias": None if bias is None else bias[channels]})
    output = some.new_zeros(len(some), len(weight), *some.shape[2:])
    output[:, channels] = some
    return output


def selects_channels(name: str, args: Args, kwargs: Kwargs) -> bool:
    """Return whether a call of an operation selects channels and changes nothing else."""
    if name not in CHANNEL_VIEWS:
        return False
    if name == "__getitem__":
        index = args[1] if isinstance(args[1], tuple) else (args[1],)
        return len(index) == 2 and index[0] == slice(None) and isinstance(index[1], slice)
    if name == "narrow":
        return kwargs.get("dim", args[1]) in (1, -3)
    return (args[2] if len(args) > 2 else kwargs.get("dim", 0)) in (1, -3)
