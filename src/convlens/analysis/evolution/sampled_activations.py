"""Activations of a layer's maps at fixed places of fixed images, by which states of a training are compared."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from convlens.analysis.galleries.image_data import LabelledImages
from convlens.analysis.galleries.selected_units import select_units
from convlens.ops.layer_access import evaluating, forward_to, like_parameters

IMAGES, PLACES, MAPS = 128, 8, 64
"""Most images, places in each image and maps of a layer."""
BATCH = 32


@torch.no_grad()
def sampled_activations(
    net: nn.Module, dataset: LabelledImages, layers: Sequence[str]
) -> dict[str, Float[np.ndarray, "maps samples"]]:
    """Return activations of up to 64 maps of each layer at up to 8 places of up to 128 images.

    The images are spread over the data set; maps and places are drawn once, so that they are the same in each epoch.

    Args:
        net: the network; its mode is left as it is.
        dataset: the images.
        layers: names of layers that give maps [n, maps, h, w] or vectors [n, maps].

    Returns:
        By layer the activations of the maps that ``select_units`` gives, as half-precision shares of the layer's
        largest magnitude: their correlations and CKA are those of the activations. Samples of an image are neighbours.
    """
    indices = np.unique(np.linspace(0, len(dataset) - 1, min(IMAGES, len(dataset))).round().astype(int)).tolist()
    found: dict[str, list[Tensor]] = {layer: [] for layer in layers}

    def taking(layer: str, start: int) -> Callable[[Tensor], None]:
        def take(output: Tensor) -> None:
            values = output.flatten(2) if output.dim() > 2 else output.unsqueeze(2)
            places = _places(len(indices), values.shape[2])[start : start + len(values)].to(values.device)
            maps = select_units(values.shape[1], MAPS).to(values.device)
            chosen = values[:, maps].gather(2, places.unsqueeze(1).expand(-1, len(maps), -1))
            found[layer].append(chosen.transpose(0, 1).flatten(1).float().cpu())

        return take

    with evaluating(net):
        for start in range(0, len(indices), BATCH):
            images, _ = dataset.__getitems__(indices[start : start + BATCH])
            forward_to(net, like_parameters(net, images), {layer: taking(layer, start) for layer in layers})
    return {layer: _halves(torch.cat(parts, 1)) for layer, parts in found.items()}


def _places(images: int, count: int) -> Tensor:
    """Return for each image the indices of different places of a map of ``count`` places."""
    order = torch.rand(images, count, generator=torch.Generator().manual_seed(0)).argsort(1)
    return order[:, :PLACES]


def _halves(values: Tensor) -> np.ndarray:
    largest = float(values.abs().max())
    return (values / (largest or 1.0)).numpy().astype(np.float16)
