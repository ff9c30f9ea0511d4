"""A forward pass over whole images whose convolutions are kept, to be read by many passes over windows of them."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from convlens.deconv.geometry import Pair, arguments, pair
from convlens.deconv.layers import evaluating, forward_to


class Recording(TorchFunctionMode):
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


def record(net: nn.Module, images: Float[Tensor, "n c h w"], layers: list[str]) -> Recording:
    """Run the network over whole images as far as the layers, which must be usable ones."""
    recording = Recording()
    with evaluating(net), torch.no_grad(), recording:
        forward_to(net, images.clone(), {layer: lambda output: None for layer in layers})
    return recording


class _Given(torch.autograd.Function):
    """A convolution whose result is known already; on the way down it is the transposed one, as ever."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, result: list[Tensor], options: tuple[Pair, Pair, int]) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x, weight)
        ctx.options = options
        return result[0]

    @staticmethod
    def backward(ctx, signal: Tensor):  # type: ignore[no-untyped-def]
        x, weight = ctx.saved_tensors
        stride, dilation, groups = ctx.options
        down = torch.ops.aten.convolution_backward(
            signal, x, weight, None, stride, (0, 0), dilation, False, (0, 0), groups, (True, False, False)
        )
        return down[0], None, None, None


def given_convolution(x: Tensor, given: dict[str, Any], result: Tensor) -> Tensor:
    """``result`` as that of an unpadded convolution of ``x`` by the arguments ``given``."""
    options = (pair(given.get("stride", 1)), pair(given.get("dilation", 1)), given.get("groups", 1))
    # In a list, or it would count as a view of an input, which what follows may not change in place.
    return _Given.apply(x, given["weight"], [result], options)
