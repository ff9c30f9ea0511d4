"""The pretrained part of a network in fine-tuning: freezing, and parameter groups with a scaled learning rate."""

from collections.abc import Collection, Iterator
from typing import TypedDict

from torch import nn


class ParameterGroup(TypedDict):
    """Parameters with a factor of the learning rate."""

    params: list[nn.Parameter]
    lr_scale: float


def freeze(net: nn.Module, names: Collection[str]) -> None:
    """Exclude parameters from training, and stop their batch normalization modules from updating statistics."""
    for name, parameter in net.named_parameters():
        if name in names:
            parameter.requires_grad_(False)
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and not any(
            p.requires_grad for p in module.parameters()
        ):
            module.eval()


def parameter_groups(
    net: nn.Module, backbone: Collection[str], lr_scale: float
) -> Iterator[nn.Parameter] | list[ParameterGroup]:
    """Return the parameters to train, as an optimizer takes them.

    Args:
        net: the network.
        backbone: names of the pretrained parameters.
        lr_scale: factor of their learning rate; 1 gives one group, 0 leaves them out.
    """
    if lr_scale == 1:
        return net.parameters()
    named = dict(net.named_parameters())
    new = [p for name, p in named.items() if name not in backbone]
    groups: list[ParameterGroup] = [{"params": new, "lr_scale": 1.0}]
    if lr_scale:
        pretrained = [p for name, p in named.items() if name in backbone]
        groups.append({"params": pretrained, "lr_scale": lr_scale})
    return groups
