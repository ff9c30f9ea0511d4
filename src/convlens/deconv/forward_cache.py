"""Cache of the convolutions of a forward pass over whole images, which passes over windows read."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from convlens.ops.layer_access import evaluating, forward_to
from convlens.ops.op_table import Args, Kwargs, Pair, arguments


class ForwardCache(TorchFunctionMode):
    """Mode that stores the output of each convolution, in the order of the calls."""

    def __init__(self) -> None:
        super().__init__()
        self._outputs: list[tuple[Tensor, Tensor]] = []

    def __torch_function__(
        self, func: Callable, types: Sequence[type], args: Args = (), kwargs: Kwargs | None = None
    ) -> object:
        """Run an operation; store a copy of a convolution's output, which later operations may change in place."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if getattr(func, "__name__", "") == "conv2d":
            self._outputs.append((arguments("conv2d", args, kwargs)["weight"], result.clone()))
        return result

    def output(self, number: int, weight: Tensor, size: Pair) -> Float[Tensor, "images maps h w"] | None:
        """Return the output of a convolution of whole images, or None if it does not match.

        Args:
            number: of the call, from 0.
            weight: weights that the call must have had.
            size: height and width that the output must have.
        """
        if number >= len(self._outputs):
            return None
        own_weight, output = self._outputs[number]
        same = own_weight is weight or torch.equal(own_weight, weight)  # a parametrization computes it in each pass
        return output if same and output.shape[-2:] == size else None


def cache_forward(net: nn.Module, images: Float[Tensor, "n c h w"], layers: list[str]) -> ForwardCache:
    """Run a forward pass over whole images up to the layers, which `check_outputs` has accepted, and cache it."""
    cache = ForwardCache()
    with evaluating(net), torch.no_grad(), cache:
        x = images.clone(memory_format=torch.channels_last)
        forward_to(net, x, {layer: lambda output: None for layer in layers})
    return cache
