"""Which layers and maps are looked at, and their strongest activations."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from convlens.deconv import ReceptiveField, TopActivations
from convlens.errors import InputError
from convlens.nets import ConvNet
from convlens.ops.layer_access import evaluating, like_parameters, reading


@dataclass(frozen=True)
class SelectedUnits:
    """Some maps of one layer with their k strongest activations, one per image, strongest first.

    ``field`` is the layer's receptive field; ``total`` is how many maps the layer has.
    """

    layer: str
    field: ReceptiveField
    vector: bool
    total: int
    maps: Int[Tensor, " maps"]
    values: Float[Tensor, "maps k"]
    images: Int[Tensor, "maps k"]
    positions: Int[Tensor, "maps k 2"]

    @staticmethod
    def from_top_activations(layer: str, top: TopActivations, field: ReceptiveField, maps: Int[Tensor, " maps"]) -> "SelectedUnits":
        """The maps of those numbers."""
        kept = [tensor[maps].cpu() for tensor in (top.values, top.images, top.positions)]
        return SelectedUnits(layer, field, top.vector, len(top.values), maps, *kept)

    @property
    def alive(self) -> Bool[Tensor, "maps k"]:
        """Activations above zero; all else is left blank."""
        return (self.values > 0) & (self.images >= 0)

    @property
    def boxes(self) -> Int[Tensor, "maps k 4"]:
        """Receptive fields (top, left, bottom, right) in pixels of the network's input, not clipped to it."""
        rows = [[self.field.box(*place) for place in row] for row in self.positions.tolist()]
        return torch.tensor(rows, dtype=torch.int64).reshape(*self.images.shape, 4)

    def box(self, row: int, rank: int) -> list[int]:
        """One of ``boxes``."""
        return list(self.field.box(*self.positions[row, rank].tolist()))

    def unit(self, row: int, rank: int, image: int, other: bool) -> tuple[int, ...]:
        """A unit as ``project`` takes it, in the given image; ``other`` is that of another map at the same place."""
        number = int(self.maps[row])
        if other:
            number = (number + max(1, self.total // 2)) % self.total
        return (image, number) if self.vector else (image, number, *self.positions[row, rank].tolist())


def select_units(maps: int, count: int | None, seed: int = 0) -> Int[Tensor, " chosen"]:
    """Numbers of a random subset of the maps, in order (the paper shows such a subset); None takes all."""
    if count is not None and count < 1:
        raise InputError(f"{count} maps to draw: give at least 1, or null for all")
    if count is None or count >= maps:
        return torch.arange(maps)
    return torch.randperm(maps, generator=torch.Generator().manual_seed(seed))[:count].sort().values


def default_layers(net: nn.Module, size: int | None = None) -> list[str]:
    """Our networks' convolutional layers; elsewhere the outermost blocks that hold a convolution.

    With the side of an image in pixels, blocks that its forward pass does not reach, such as auxiliary classifiers, are
    left out.

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
    return names if size is None else reached(net, names, size)


def reached(net: nn.Module, names: list[str], size: int) -> list[str]:
    """Those of some layers that the forward pass of an image of that side reaches."""
    with evaluating(net), torch.no_grad(), reading(net, names) as seen:
        net(like_parameters(net, torch.zeros(1, 3, size, size)))
    return [name for name in names if seen[name]]
