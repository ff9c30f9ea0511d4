"""Deletion and insertion curves: the response as the pixels of most energy are removed or added (claims 1 and 2)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from convlens.ops.layer_access import evaluating, forward_to, like_parameters
from convlens.ops.tensor_repr import summary
from convlens.stats.estimates import mean_of
from convlens.stats.results import Table


@dataclass(frozen=True)
class DeletionCurves:
    """Responses of one map of one image as pixels are replaced in the order of an energy (Petsiuk et al. 2018).

    Attributes:
        share: shares of the pixels that are replaced, from 0 to 1 [steps + 1].
        deletion: by the name of the energy, the map's total activation over that of the image, as the pixels of most
            energy are replaced by the occluder first [steps + 1].
        insertion: the same as they are put into the image of the occluder first.
    """

    share: Float[np.ndarray, " t"]
    deletion: Mapping[str, Float[np.ndarray, " t"]]
    insertion: Mapping[str, Float[np.ndarray, " t"]]

    __repr__ = summary

    def areas(self, kind: str) -> dict[str, float]:
        """Return the areas under the curves by the name of the energy; ``kind`` is ``deletion`` or ``insertion``."""
        curves: Mapping[str, Float[np.ndarray, " t"]] = getattr(self, kind)
        return {name: float(np.trapezoid(curve, self.share)) for name, curve in curves.items()}


def deletion_curves(
    net: nn.Module,
    image: Float[Tensor, "c h w"],
    occluder: Float[Tensor, "c h w"],
    layer: str,
    map: int,
    energies: Mapping[str, Float[Tensor, "h w"]],
    steps: int = 10,
) -> DeletionCurves | None:
    """Replace the image's pixels in the order of each energy and read a map's total activation.

    A low area under the deletion curve and a high one under the insertion curve mean that the energy names the pixels
    that excite the map. Pixels of equal energy are taken in the order of the image's rows.

    Args:
        net: the network.
        image: the image as network input.
        occluder: the image that takes its place.
        layer: name of the layer.
        map: index of the map.
        energies: by name, energies of the pixels.
        steps: number of equal parts of the pixels.

    Returns:
        The curves; None if the map's activation in the image is zero.
    """
    image, occluder = like_parameters(net, image), like_parameters(net, occluder)
    pixels = image[0].numel()
    counts = np.round(np.linspace(0, pixels, steps + 1)).astype(int)
    inputs = []
    for energy in energies.values():
        rank = torch.empty(pixels, dtype=torch.long)
        rank[energy.flatten().cpu().argsort(descending=True, stable=True)] = torch.arange(pixels)
        rank = rank.view(image.shape[1:]).to(image.device)
        chosen = torch.stack([rank < count for count in counts.tolist()])[:, None]
        inputs += [torch.where(chosen, occluder, image), torch.where(chosen, image, occluder)]
    responses = np.array([_responses(net, batch, layer, map) for batch in inputs])
    clean = responses[0, 0]
    if not clean > 0:
        return None
    rows = responses.reshape(len(energies), 2, steps + 1) / clean
    deletion, insertion = ({name: rows[i, k] for i, name in enumerate(energies)} for k in (0, 1))
    return DeletionCurves(counts / pixels, deletion, insertion)


def _responses(net: nn.Module, batch: Float[Tensor, "n c h w"], layer: str, map: int) -> Float[np.ndarray, " n"]:
    """Return the map's activation, summed over space, of each image."""
    found: list[Tensor] = []

    def read(output: Tensor) -> None:
        maps = output[:, map].clamp(min=0)  # before a later layer can change it in place
        found.append(maps.flatten(1).sum(1) if maps.dim() > 1 else maps)

    with evaluating(net), torch.no_grad():
        forward_to(net, batch, {layer: read})
    return found[0].double().cpu().numpy()


def deletion_table(curves: Sequence[DeletionCurves]) -> list[Table]:
    """Return the areas under the curves, means over images with intervals, and their differences to the deconvnet's."""
    if not curves:
        return []
    rows = []
    areas = {kind: [curve.areas(kind) for curve in curves] for kind in ("deletion", "insertion")}
    for name in areas["deletion"][0]:
        cells: list[str] = []
        for own in areas.values():
            cells += [str(mean_of(np.array([one[name] for one in own]))), _difference(own, name)]
        rows.append([name, *cells])
    title = (
        f"Area under the deletion curve (lower is better) and the insertion curve (higher is better), mean over "
        f"{len(curves)} images: the map's activation as the pixels of most energy are replaced or put in first"
    )
    columns = ["energy", "deletion", "deconvnet minus this", "insertion", "deconvnet minus this "]
    return [Table(title, columns, rows)]


def _difference(areas: Sequence[Mapping[str, float]], name: str) -> str:
    """Return the mean over images of the deconvnet's area minus that of another energy, as text."""
    return str(mean_of(np.array([one["deconvnet"] - one[name] for one in areas]))) if name != "deconvnet" else ""
