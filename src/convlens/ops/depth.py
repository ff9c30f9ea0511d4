"""Depth of layers: the operations that a forward pass runs before it reaches each of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from convlens.ops.layer_access import evaluating, forward_to, like_parameters
from convlens.ops.op_table import Args, Kwargs


@dataclass(frozen=True)
class Depth:
    """Number of operations below a layer, its own included.

    Attributes:
        convolutions: number of convolutions; 1 for the first layer, with or without its pooling.
        max_pools: number of max poolings.
    """

    convolutions: int
    max_pools: int


class _Counter(TorchFunctionMode):
    """Mode that counts convolutions and max poolings."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = self.max_pools = 0

    def __torch_function__(
        self, func: Callable, types: Sequence[type], args: Args = (), kwargs: Kwargs | None = None
    ) -> object:
        """Run an operation and count it."""
        name = getattr(func, "__name__", "")
        self.convolutions += name == "conv2d"
        self.max_pools += "max_pool2d" in name
        return func(*args, **(kwargs or {}))


def layer_depths(net: nn.Module, layers: Sequence[str], image_size: int) -> dict[str, Depth]:
    """Return the depth of each layer, from one forward pass.

    Args:
        net: any network.
        layers: module paths that the pass reaches.
        image_size: side of the images in pixels.

    Raises:
        InputError: a layer is unknown.
    """
    found: dict[str, Depth] = {}
    counter = _Counter()

    def note(layer: str, output: Tensor) -> None:
        found[layer] = Depth(counter.convolutions, counter.max_pools)

    image = like_parameters(net, torch.zeros(1, 3, image_size, image_size))
    with evaluating(net), torch.no_grad(), counter:
        forward_to(net, image, {layer: partial(note, layer) for layer in layers})
    return found
