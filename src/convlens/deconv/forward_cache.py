"""A forward pass over whole images whose convolutions are kept, to be read by many passes over windows of them."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from convlens.ops.layer_access import evaluating, forward_to
from convlens.ops.op_table import Pair, arguments


class ForwardCache(TorchFunctionMode):
    """While active, keeps what each convolution gives; afterwards hands it out in the order of the calls."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: list[tuple[Tensor, Tensor]] = []

    def __torch_function__(self, func: Callable, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation; of a convolution keep a copy, since what follows may change it in place."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if getattr(func, "__name__", "") == "conv2d":
            self._kept.append((arguments("conv2d", args, kwargs)["weight"], result.clone()))
        return result

    def output(self, number: int, weight: Tensor, size: Pair) -> Float[Tensor, "images maps h w"] | None:
        """What the convolution of that number gave; None if it was another one, or of other maps."""
        if number >= len(self._kept):
            return None
        its_weight, kept = self._kept[number]
        same = its_weight is weight or torch.equal(its_weight, weight)  # made anew for each pass, it may be
        return kept if same and kept.shape[-2:] == size else None


def record(net: nn.Module, images: Float[Tensor, "n c h w"], layers: list[str]) -> ForwardCache:
    """Run the network over whole images as far as the layers, which must be usable ones."""
    recording = ForwardCache()
    with evaluating(net), torch.no_grad(), recording:
        x = images.clone(memory_format=torch.channels_last)
        forward_to(net, x, {layer: lambda output: None for layer in layers})
    return recording
