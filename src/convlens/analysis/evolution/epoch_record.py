"""Record of an epoch: each map's strongest images and their projections (section 4, Fig 4)."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from convlens.analysis.evolution.sampled_activations import MAPS
from convlens.analysis.galleries.gallery import Gallery
from convlens.analysis.galleries.image_data import GalleryData, LabelledImages
from convlens.analysis.galleries.selected_units import SelectedUnits, select_units
from convlens.analysis.galleries.top_activations import top_activations
from convlens.analysis.galleries.variants import OWN, ProjectionVariant
from convlens.deconv.project import ProjectOptions
from convlens.ops.layer_access import evaluating, forward_to, like_parameters
from convlens.ops.receptive_field import receptive_fields

TOP = 9
"""Strongest images of a map whose set is compared between epochs, as many as Fig 2 shows."""
BATCH = 32


def epoch_record(
    net: nn.Module,
    data: GalleryData,
    layers: Sequence[str],
    *,
    maps: int,
    images: int | None,
    rules: ProjectOptions,
    scratch: Path,
    previous: Mapping[str, np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
    """Search the training images and project the strongest activation of some maps (Fig 4).

    Args:
        net: the network.
        data: the images.
        layers: names of layers.
        maps: how many maps of each layer are projected.
        images: search only the first so many training images; None searches all.
        rules: options of `convlens.project`.
        scratch: folder for intermediate arrays, beside the results: a temporary folder may have less room.
        previous: the record of the epoch that was drawn before; None for the first one.

    Returns:
        ``layers``, the names; and of each layer ``<layer>/projections`` [maps, 1, c, h, w], ``<layer>/maps`` [maps],
        ``<layer>/values`` and ``<layer>/images`` [maps, 1]; ``<layer>/kept`` [maps, 1, c, h, w], the projection of the
        previous record's strongest image where another one is strongest now, zeros elsewhere; ``<layer>/top``
        [compared, 9], the strongest images of the maps of `sampled_activations`, -1 where none activates the map.
    """
    dataset = data.dataset("train", "centre", images)
    tops = top_activations(net, data.plain_dataloader("train", images), layers, TOP, progress=False)
    fields = receptive_fields(net, list(layers), (data.image_size, data.image_size))
    arrays: dict[str, np.ndarray] = {"layers": np.array(layers)}
    shown = {layer: select_units(len(top.values), maps) for layer, top in tops.items()}
    former = {}
    for layer, top in tops.items():
        active = top.images.where(top.values > 0, -1).cpu()
        arrays[f"{layer}/top"] = active[select_units(len(active), MAPS)].numpy()
        strongest = top.images[shown[layer], 0].cpu()
        before = None if previous is None else torch.from_numpy(previous[f"{layer}/images"][:, 0])
        former[layer] = torch.full_like(strongest, -1) if before is None else before.where(before != strongest, -1)
    selected = []
    for layer, (values, positions) in peaks(net, dataset, shown, former).items():
        top, own = tops[layer], shown[layer]
        selected.append(
            SelectedUnits(
                layer, fields[layer], top.vector, len(top.values), own,
                values=torch.stack([top.values[own, 0].cpu().float(), values], 1),
                images=torch.stack([top.images[own, 0].cpu(), former[layer]], 1),
                positions=torch.stack([top.positions[own, 0].cpu(), positions], 1),
            )
        )  # fmt: skip
    variants = [ProjectionVariant(OWN, net, rules)]
    return arrays | _projected(Gallery(dataset, selected, variants, scratch, data.to_display))


def _projected(gallery: Gallery) -> dict[str, np.ndarray]:
    """Project the units of a gallery, of which the second rank is the former strongest image."""
    gallery.create_files()
    gallery.make()
    arrays: dict[str, np.ndarray] = {}
    for units in gallery.selected:
        stored = gallery.projections(units, gallery.variants[0])
        both = np.stack([stored[row] for row in range(len(stored))])
        arrays[f"{units.layer}/projections"], arrays[f"{units.layer}/kept"] = both[:, :1], both[:, 1:]
        arrays[f"{units.layer}/maps"] = units.maps.numpy()
        arrays[f"{units.layer}/values"] = units.values[:, :1].numpy()
        arrays[f"{units.layer}/images"] = units.images[:, :1].numpy()
    return arrays


@torch.no_grad()
def peaks(
    net: nn.Module,
    dataset: LabelledImages,
    maps: Mapping[str, Int[Tensor, " maps"]],
    images: Mapping[str, Int[Tensor, " maps"]],
) -> dict[str, tuple[Float[Tensor, " maps"], Int[Tensor, "maps 2"]]]:
    """Return value, row and column of each map's strongest activation in one image.

    Args:
        net: the network.
        dataset: the images.
        maps: indices of maps by layer.
        images: for each of them the index of an image; -1 for none, whose value is minus infinity.
    """
    needed = torch.cat([*images.values()]).unique()
    indices = needed[needed >= 0]
    found = {
        layer: (torch.full((len(own),), -torch.inf), torch.zeros(len(own), 2, dtype=torch.int64))
        for layer, own in maps.items()
    }

    def taking(layer: str, batch: Int[Tensor, " n"]) -> Callable[[Tensor], None]:
        def take(output: Tensor) -> None:
            space = output.unsqueeze(2).unsqueeze(3) if output.dim() == 2 else output
            rows = torch.isin(images[layer], batch).nonzero().flatten()
            places = torch.searchsorted(batch, images[layer][rows])
            best = space[places.to(space.device), maps[layer][rows].to(space.device)].flatten(1).max(1)
            width = space.shape[3]
            found[layer][0][rows] = best.values.cpu().float()
            found[layer][1][rows] = torch.stack([best.indices // width, best.indices % width], 1).cpu()

        return take

    with evaluating(net):
        for batch in indices.split(BATCH):
            pixels = like_parameters(net, dataset.__getitems__(batch.tolist())[0])
            forward_to(net, pixels, {layer: taking(layer, batch) for layer in maps})
    return found
