"""Operations on some of the channels of maps."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

MIX_CHANNELS = {"local_response_norm", "lrn", "cat", "concat"}
CHANNEL_VIEWS = {"__getitem__", "chunk", "split", "narrow"}


def taken(output: Tensor, channels: list[int] | None) -> Tensor:
    """Some of the channels, None for all."""
    return output if channels is None else output[:, channels]


def some_channels(conv2d: Callable, channels: list[int], block: Tensor, **given: Any) -> Tensor:
    """A convolution of which only these channels are computed, and the others are zero."""
    weight, bias = given["weight"], given.get("bias")
    found = conv2d(block, **given | {"weight": weight[channels], "bias": None if bias is None else bias[channels]})
    spread = found.new_zeros(len(found), len(weight), *found.shape[2:])
    spread[:, channels] = found
    return spread


def of_channels(name: str, args: Any, kwargs: Any) -> bool:
    """Whether a view takes some of the channels and leaves all else alone."""
    if name == "__getitem__":
        index = args[1] if isinstance(args[1], tuple) else (args[1],)
        return len(index) == 2 and index[0] == slice(None) and isinstance(index[1], slice)
    return (
        args[2] if len(args) > 2 and name != "narrow" else kwargs.get("dim", args[1] if name == "narrow" else 0)
    ) in (1, -3)
