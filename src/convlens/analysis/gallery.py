"""The strongest activations of a layer with their projections and image patches (paper, Fig 2)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn

from convlens.deconv import ReceptiveField, TopActivations, project_fields
from convlens.errors import InputError
from convlens.nets import ConvNet

Pictures = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class LayerGallery:
    """Some maps of one layer: for each, its k strongest activations, one per image, strongest first.

    ``boxes`` are receptive fields (top, left, bottom, right) in pixels of the network's input, not clipped to it;
    ``projections`` and ``patches`` are cut to them. Ranks that have no activation above zero are blank.
    """

    layer: str
    maps: Int[Tensor, " maps"]
    values: Float[Tensor, "maps k"]
    images: Int[Tensor, "maps k"]
    positions: Int[Tensor, "maps k 2"]
    boxes: Int[Tensor, "maps k 4"]
    projections: Float[Tensor, "maps k c h w"]
    patches: UInt8[Tensor, "maps k 3 h w"]

    @property
    def dead(self) -> Bool[Tensor, " maps"]:
        """Maps in which nothing is above zero."""
        return ~(self.values > 0).any(1)


def crop(images: Tensor, box: Sequence[int], fill: float) -> Tensor:
    """The window (top, left, bottom, right) of images [..., h, w]; what lies outside them is ``fill``."""
    top, left, bottom, right = box
    height, width = images.shape[-2:]
    window = torch.full(
        (*images.shape[:-2], bottom - top, right - left), fill, dtype=images.dtype, device=images.device
    )
    y0, y1, x0, x1 = max(top, 0), min(bottom, height), max(left, 0), min(right, width)
    if y0 < y1 and x0 < x1:
        window[..., y0 - top : y1 - top, x0 - left : x1 - left] = images[..., y0:y1, x0:x1]
    return window


def choose_maps(maps: int, count: int | None, seed: int = 0) -> Int[Tensor, " chosen"]:
    """Numbers of a random subset of the maps, in order (the paper shows such a subset); None takes all."""
    if count is not None and count < 1:
        raise InputError(f"{count} maps to draw: give at least 1, or null for all")
    if count is None or count >= maps:
        return torch.arange(maps)
    return torch.randperm(maps, generator=torch.Generator().manual_seed(seed))[:count].sort().values


def default_layers(net: nn.Module) -> list[str]:
    """Our networks' convolutional layers; elsewhere the outermost blocks that hold a convolution.

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
    return names


def layer_gallery(
    net: nn.Module,
    dataset: Any,
    layer: str,
    top: TopActivations,
    field: ReceptiveField,
    *,
    maps: Int[Tensor, " maps"],
    to_display: Pictures,
    **rules: Any,
) -> LayerGallery:
    """Projections and patches of the strongest activations of the chosen maps.

    Args:
        net: the network.
        dataset: gives an image, alone or before its label, for each number in ``top.images``.
        layer: its name.
        top: from ``top_activations`` over the data set.
        field: the layer's receptive field.
        maps: numbers of the maps to show.
        to_display: turns images as the network reads them into uint8 pictures.
        **rules: passed on to ``project_fields``.
    """
    chosen = [tensor[maps] for tensor in (top.values, top.images, top.positions)]
    values, images, positions = (tensor.cpu() for tensor in chosen)
    alive = (values > 0) & (images >= 0)
    boxes = torch.tensor(
        [[field.box(*place) for place in row] for row in positions.tolist()], dtype=torch.int64
    ).reshape(*images.shape, 4)
    places = alive.nonzero().tolist()
    numbers = sorted({int(images[m, r]) for m, r in places})
    batch = torch.stack([_image(dataset, number) for number in numbers]) if numbers else None
    row_of = {number: row for row, number in enumerate(numbers)}
    pictures = to_display(batch).cpu() if batch is not None else None
    units = []
    for m, r in places:
        image, *rest = top.unit(int(maps[m]), r)
        units.append((row_of[image], *rest))
    size = field.size
    channels = 3 if batch is None else batch.shape[1]
    projections = torch.zeros(*images.shape, channels, *size)
    patches = torch.zeros(*images.shape, 3, *size, dtype=torch.uint8)
    if batch is not None and pictures is not None:
        for (m, r), projection, unit in zip(
            places, project_fields(net, batch, layer, units, **rules), units, strict=True
        ):
            projections[m, r] = projection.cpu().float()
            patches[m, r] = crop(pictures[unit[0]], boxes[m, r].tolist(), 128)
    return LayerGallery(layer, maps, values, images, positions, boxes, projections, patches)


def _image(dataset: Any, number: int) -> Tensor:
    item = dataset[number]
    return item[0] if isinstance(item, list | tuple) else item
