"""Networks with randomized weights, the control of every analysis."""

import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn

from convlens.ops.layer_access import evaluating, like_parameters


def randomize_weights(net: nn.Module, images: Float[Tensor, "n c h w"], seed: int = 0) -> nn.Module:
    """Return a copy of the network with each weight tensor's values in random order, in evaluation mode.

    The distribution of the weights is kept; biases and other vectors are unchanged. Batch norms get the statistics of
    ``images``.
    """
    other = copy.deepcopy(net)
    generator = torch.Generator().manual_seed(seed)
    norms = [module for module in other.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    with torch.no_grad():
        for parameter in other.parameters():
            if parameter.dim() > 1:
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
