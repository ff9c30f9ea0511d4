"""Networks with randomized weights, the control of every analysis: all layers, or from the top layer down."""

import copy
from collections.abc import Collection, Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn

from convlens.ops.layer_access import evaluating, like_parameters


def randomize_weights(
    net: nn.Module, images: Float[Tensor, "n c h w"], seed: int = 0, layers: Collection[str] | None = None
) -> nn.Module:
    """Return a copy of the network with each weight tensor's values in random order, in evaluation mode.

    The distribution of the weights is kept; biases and other vectors are unchanged. Batch norms get the statistics of
    ``images``.

    Args:
        net: the network.
        images: as network input.
        seed: random seed of the order.
        layers: names of the modules whose own weights are randomized; None is all.
    """
    other = copy.deepcopy(net)
    generator = torch.Generator().manual_seed(seed)
    norms = [module for module in other.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            if parameter.dim() > 1 and (layers is None or name.rpartition(".")[0] in layers):
                order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
                parameter.copy_(parameter.flatten()[order].view_as(parameter))
        if norms:
            with evaluating(other):
                for norm in norms:
                    norm.reset_running_stats()
                    norm.momentum = None  # a cumulative average
                    norm.train()
                # The last layers may have a single value per image, which has no variance.
                images = images if len(images) > 1 else torch.cat([images, images])
                other(like_parameters(other, images).clone())
    return other.eval()


def cascading_randomization(
    net: nn.Module, images: Float[Tensor, "n c h w"], seed: int = 0
) -> Iterator[tuple[str, nn.Module]]:
    """Yield the network with its top layer randomized, then its two top layers, and so on to all (Adebayo et al. 2018).

    Layers are in the order in which the network defines them, which is that of the forward pass in most networks.

    Yields:
        The name of the lowest layer that is randomized, and the network.
    """
    names = [name for name, module in net.named_modules() if any(p.dim() > 1 for p in module.parameters(recurse=False))]
    for number in range(1, len(names) + 1):
        yield names[-number], randomize_weights(net, images, seed, set(names[-number:]))
