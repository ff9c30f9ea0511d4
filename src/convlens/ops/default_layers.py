"""Default choices of layers, their order in the network, and layers by number."""

from collections.abc import Sequence

import torch
from torch import nn

from convlens.errors import InputError
from convlens.nets import ConvNet
from convlens.ops.layer_access import OUTPUT, evaluating, like_parameters, reading


def default_layers(net: nn.Module, image_size: int | None = None) -> list[str]:
    """Return the convolutional layers of a `ConvNet`, else the outermost blocks that contain a convolution.

    Args:
        net: any network.
        image_size: side of the images in pixels; if given, blocks that a forward pass does not reach, such as
            auxiliary classifiers, are left out.

    Raises:
        InputError: the network has no convolution.
    """
    if isinstance(net, ConvNet):
        return net.conv_names()
    names = []
    for name, child in net.named_children():
        parts = child.named_children() if isinstance(child, nn.Sequential) else [("", child)]
        for part, module in parts:
            if any(isinstance(m, nn.Conv2d) for m in module.modules()):
                names.append(f"{name}.{part}" if part else name)
    if not names:
        raise InputError(f"{type(net).__name__} has no convolution: name the layers with task.layers=[...]")
    return names if image_size is None else reached_layers(net, names, image_size)


def conv_and_fc_layers(net: nn.Module, image_size: int) -> list[str]:
    """Return `default_layers` and, of a `ConvNet`, the output of layer 1 and the fully connected layers (Fig 5)."""
    own = [*_named(net, "layer1"), *_named(net, "fc6", "fc7")] if isinstance(net, ConvNet) else []
    return sort_layers(net, [*default_layers(net, image_size), *own])


def top_conv_and_fc_layers(net: nn.Module, image_size: int) -> list[str]:
    """Return layers 5 and 7 of a `ConvNet` (Table 1), else the last convolution and the output."""
    upper = (*_named(net, "fc7", "fc6"), OUTPUT)[0]
    return [*(_named(net, "layer5") or default_layers(net, image_size)[-1:]), upper]


def transfer_layers(net: nn.Module, image_size: int) -> list[str]:
    """Return the layers of a `ConvNet` that the paper transfers (Table 7), else all convolution and attention blocks.

    Of a `ConvNet` these are ``layer1``, ..., ``fc7``: what each layer hands on, without the class scores.
    """
    if isinstance(net, ConvNet):
        return [name for name, _ in net.named_children() if name.startswith(("layer", "fc"))][:-1]
    around = [name.rpartition(".")[0] for name, module in net.named_modules() if "Attention" in type(module).__name__]
    if not around:
        return default_layers(net, image_size)
    has_conv = any(name and isinstance(module, nn.Conv2d) for name, module in net.named_modules())
    blocks = default_layers(net, image_size) if has_conv else []
    return sort_layers(net, [*blocks, *reached_layers(net, [name for name in around if name], image_size)])


def layers_by_number(net: nn.Module, layers: Sequence[str | int], image_size: int) -> list[str]:
    """Replace numbers of layers by names: 1 to 7 of a `ConvNet`, else the modules whose names are numbers.

    Raises:
        InputError: no layer has that number.
    """
    usual = transfer_layers(net, image_size)
    by_number = {int(name[-1]): name for name in usual} if isinstance(net, ConvNet) else {}
    by_number |= {int(name): name for name, _ in net.named_modules() if name.isdigit()}
    if unknown := [layer for layer in layers if isinstance(layer, int) and layer not in by_number]:
        known = f"{', '.join(map(str, by_number))}, or a name" if by_number else "this network's layers have names"
        raise InputError(f"task.layers: there is no layer {unknown[0]}: {known}, such as {usual[-1]}")
    return [by_number[layer] if isinstance(layer, int) else layer for layer in layers]


def sort_layers(net: nn.Module, layers: Sequence[str]) -> list[str]:
    """Sort layers by their position in the network, without duplicates; `OUTPUT` comes last."""
    order = {name: number for number, (name, _) in enumerate(net.named_modules())} | {OUTPUT: len(list(net.modules()))}
    return sorted(dict.fromkeys(layers), key=lambda name: order.get(name, -1))


def reached_layers(net: nn.Module, names: Sequence[str], image_size: int) -> list[str]:
    """Return those layers that a forward pass of an image of ``image_size`` x ``image_size`` pixels reaches."""
    with evaluating(net), torch.no_grad(), reading(net, names) as outputs:
        net(like_parameters(net, torch.zeros(1, 3, image_size, image_size)))
    return [name for name in names if outputs[name]]


def _named(net: nn.Module, *names: str) -> list[str]:
    """Return those names that the network has."""
    modules = dict(net.named_modules())
    return [name for name in names if name in modules]
