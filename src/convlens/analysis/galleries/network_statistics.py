"""Statistics of one network's gallery: what claims 4 to 7 are decided from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from convlens.analysis.galleries.array_store import Patches, Projections
from convlens.analysis.galleries.gallery import Gallery
from convlens.analysis.galleries.grouping import GROUPING_FIELDS, Grouping, measure_grouping
from convlens.analysis.galleries.image_data import image_at
from convlens.analysis.galleries.purity import StrongestImages
from convlens.analysis.galleries.sanity_checks import CENTRE, compared_maps, rows_by_rule
from convlens.analysis.galleries.selected_units import SelectedUnits
from convlens.analysis.galleries.switches import (
    SwitchChanges,
    change_between_images,
    change_without_switches,
    pixels_inside,
)
from convlens.analysis.galleries.top_k_metric import TopActivations
from convlens.io.arrays import read_arrays, write_arrays
from convlens.ops.depth import Depth
from convlens.ops.tensor_repr import summary

STRONGEST = "strongest"


@dataclass(frozen=True)
class NetworkStatistics:
    """Statistics of the gallery of a network, by layer in the order of the gallery.

    Attributes:
        depths: depth of each layer.
        grouping: of the layers with at least two compared maps.
        strongest: classes of all maps' strongest images.
        switches: of those layers above a max pooling; empty for a control network.
    """

    depths: Mapping[str, Depth]
    grouping: Mapping[str, Grouping]
    strongest: StrongestImages
    switches: Mapping[str, SwitchChanges] = field(default_factory=dict)

    __repr__ = summary

    def write(self, path: Path) -> None:
        """Write all but the switches to an npz file."""
        arrays = {
            f"{name}/{layer}": getattr(one, name) for layer, one in self.grouping.items() for name in GROUPING_FIELDS
        }
        own = {f"{STRONGEST}/{name}": getattr(self.strongest, name) for name in ("images", "layer", "depth", "labels")}
        write_arrays(path, arrays | own)

    @staticmethod
    def read(path: Path, depths: Mapping[str, Depth]) -> "NetworkStatistics":
        """Read a file of `write`.

        Raises:
            DamagedError: the file is not as it was written.
            OSError: it is missing or cannot be read.
        """
        arrays = read_arrays(path)
        grouping = {
            layer: Grouping(*(arrays[f"{name}/{layer}"] for name in GROUPING_FIELDS))
            for layer in depths
            if f"{GROUPING_FIELDS[0]}/{layer}" in arrays
        }
        own = (arrays[f"{STRONGEST}/{name}"] for name in ("images", "layer", "depth", "labels"))
        return NetworkStatistics(depths, grouping, StrongestImages(*own))


def measure_network(
    gallery: Gallery,
    maps: int | None,
    depths: Mapping[str, Depth],
    tops: Mapping[str, TopActivations],
    labels: Int[np.ndarray, " images"],
) -> NetworkStatistics:
    """Compute the statistics of a finished gallery.

    Args:
        gallery: the gallery; the changes by switches are computed if it has the variant ``CENTRE``.
        maps: how many of each layer's selected maps are compared; None is all.
        depths: depth of each layer.
        tops: the strongest activations of all maps, by layer.
        labels: class of each image that was searched; negative if it is not known.
    """
    grouping, switches = {}, {}
    with_switches = any(variant.name == CENTRE for variant in gallery.variants)
    for selected in gallery.selected:
        compared = compared_maps(selected, maps)
        if len(compared.in_controls) < 2:
            continue
        own = _pictures(gallery.projections(selected, gallery.variants[0]), compared.in_gallery, compared.active)
        patches = _pictures(gallery.patches(selected), compared.in_gallery, compared.active)
        grouping[selected.layer] = measure_grouping(own, patches)
        if with_switches and depths[selected.layer].max_pools:
            switches[selected.layer] = _switch_changes(gallery, selected, maps)
    return NetworkStatistics(depths, grouping, StrongestImages.from_tops(tops, depths, labels), switches)


def _pictures(stored: Projections | Patches, rows: list[int], active: Bool[Tensor, "maps k"]) -> list[Tensor]:
    """Return the pictures of each map's active units."""
    return [torch.from_numpy(np.array(stored[row], np.float32))[shown] for row, shown in zip(rows, active, strict=True)]


def _switch_changes(gallery: Gallery, selected: SelectedUnits, maps: int | None) -> SwitchChanges:
    """Return the changes of the deconvnet's projections with other switches and without them, map by map."""
    compared = compared_maps(selected, maps)
    variants = {variant.name: variant for variant in gallery.variants}
    variant, rows = rows_by_rule("deconvnet", variants, compared)
    height, width = image_at(gallery.dataset, 0).shape[-2:]
    own = _pictures(gallery.projections(selected, variant), rows, compared.active)
    centred = _pictures(gallery.projections(selected, variants[CENTRE]), compared.in_controls, compared.active)
    changes = []
    for row, active, pictures, unpooled in zip(compared.in_gallery, compared.active, own, centred, strict=True):
        inside = pixels_inside(selected.boxes[row][active], height, width)
        changes.append([change_between_images(pictures, inside), change_without_switches(pictures, unpooled, inside)])
    other_image, centre = np.array(changes).T
    return SwitchChanges(other_image, centre)
