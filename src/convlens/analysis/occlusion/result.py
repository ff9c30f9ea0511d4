"""Result of the occlusion analysis: measures of each image, arrays, figure rows and claims (Fig 7)."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from convlens.analysis.occlusion.deletion import DeletionCurves, deletion_table
from convlens.analysis.occlusion.faithfulness import Faithfulness, faithfulness_claims, map_projections
from convlens.analysis.occlusion.localization import Localization, localization_claim, localize
from convlens.analysis.occlusion.occlude import OcclusionMaps
from convlens.errors import InputError, NoReLUError
from convlens.figures.occlusion import OccludedImage
from convlens.io.arrays import write_arrays
from convlens.ops.log_once import log_once
from convlens.ops.tensor_repr import summary
from convlens.stats.claims import Claim
from convlens.stats.control_table import control_table
from convlens.stats.results import AnalysisResult, Figure, Number, Table

log = logging.getLogger(__name__)

FIGURE = "occlusion.png"


@dataclass(frozen=True)
class OcclusionRecord:
    """Occlusion maps of one image with the measures that decide the claims.

    Attributes:
        index: index of the image in its split.
        image_id: name of the image in the data.
        image: the image as network input.
        occluder: the image that replaces it inside the occluder.
        maps: responses for each position; with class and layer.
        faithfulness: None if the network has no projections, or the map's activation is zero or never changes.
        localization: None if the object is unknown, or no position is inside or none outside.
        object_box: top, left, bottom and right (exclusive) of the object in pixels; None if it is unknown.
        deletion: deletion and insertion curves; None if they were not computed.
    """

    index: int
    image_id: str
    image: Float[Tensor, "c h w"]
    occluder: Float[Tensor, "c h w"]
    maps: OcclusionMaps
    faithfulness: Faithfulness | None
    localization: Localization | None
    object_box: tuple[int, int, int, int] | None
    deletion: DeletionCurves | None = None

    __repr__ = summary


def selected_projections(
    net: nn.Module, image: Float[Tensor, "c h w"], maps: OcclusionMaps, layer: str, num_maps: int, seed: int
) -> dict[str, Float[Tensor, "c h w"]] | None:
    """Return `map_projections` of the selected map, with a random other map of the layer as the control.

    Args:
        net: the network.
        image: the image as network input.
        maps: its occlusion maps, with the layer's activation.
        layer: name of the layer.
        num_maps: number of maps of the layer.
        seed: random seed of the control's map.

    Returns:
        Projections by name; None if the network has none.
    """
    if maps.map is None:
        raise InputError("these occlusion maps have no activation: call occlude with a layer")
    offset = 1 + int(np.random.default_rng(seed).integers(max(1, num_maps - 1)))
    try:
        return map_projections(net, image, layer, maps.map, (maps.map + offset) % num_maps)
    except NoReLUError as error:
        log_once(net, log, f"{type(net).__name__} has no projections, so claims 1, 2, 3 and 18 are left out: {error}")
        return None


def localize_object(
    maps: OcclusionMaps, object_mask: Bool[Tensor, "h w"] | None
) -> tuple[Localization | None, tuple[int, int, int, int] | None]:
    """Return localization and bounding box of an object; None for both if its mask is None."""
    if object_mask is None:
        return None, None
    rows, columns = (object_mask.any(axis).nonzero().flatten().tolist() for axis in (1, 0))
    box = (rows[0], columns[0], rows[-1] + 1, columns[-1] + 1) if rows else None
    return localize(maps, object_mask), box


def save_maps(records: Sequence[OcclusionRecord], layer: str, path: Path) -> None:
    """Write the maps of all images, which have the same positions, to an npz file.

    Arrays have the fields' names of `OcclusionMaps` and a first axis of images.
    """
    first = records[0].maps
    names = ("probability", "label", "activation", "clean_probability", "clean_activation")
    stacked = {name: torch.stack([torch.as_tensor(getattr(r.maps, name)) for r in records]) for name in names}
    write_arrays(
        path,
        {
            "tops": first.tops.numpy(),
            "lefts": first.lefts.numpy(),
            "size": np.array(first.size),
            "images": np.array([record.index for record in records]),
            "image_ids": np.array([record.image_id for record in records]),
            "targets": np.array([record.maps.target for record in records]),
            "layer": np.array(layer),
            "map": np.array([record.maps.map for record in records]),
            **{name: array.cpu().numpy() for name, array in stacked.items()},
        },
    )


def figure_row(
    record: OcclusionRecord,
    layer: str,
    tiles: Sequence[UInt8[np.ndarray, "_ _ 3"]],
    to_display: Callable[[Tensor], Tensor],
    class_name: Callable[[int], str],
) -> OccludedImage:
    """Return an image's row of Fig 7, with the occluder drawn where the probability is lowest.

    Args:
        record: of an image, with class and layer.
        layer: name of the layer.
        tiles: projections of the selected map in this and in other images.
        to_display: converts network input [n, 3, h, w] to pixels as bytes.
        class_name: name of a class of the network.
    """
    maps = record.maps
    if maps.probability is None or maps.label is None or maps.activation is None or maps.target is None:
        raise InputError("a row of the figure needs occlusion maps of a target and of a layer")
    row, column = divmod(int(maps.probability.argmin()), len(maps.lefts))
    top, left = int(maps.tops[row]), int(maps.lefts[column])
    picture, occluder = to_display(torch.stack([record.image, record.occluder])).permute(0, 2, 3, 1).numpy()
    color = occluder[top : top + maps.size, left : left + maps.size].mean((0, 1)).round().astype(int).tolist()
    first_y, last_y, first_x, last_x = (
        int(axis[end]) + maps.size / 2 - 0.5 for axis in (maps.tops, maps.lefts) for end in (0, -1)
    )
    return OccludedImage(
        image=picture,
        occluder=(top, left, maps.size),
        color=(color[0], color[1], color[2]),
        heading=class_name(maps.target),
        centers=(first_y, last_y, first_x, last_x),
        activation=maps.activation.cpu().numpy(),
        map_name=f"{layer}, map {maps.map}",
        tiles=tiles,
        probability=maps.probability.cpu().numpy(),
        labels=maps.label.cpu().numpy(),
        label_names={label: class_name(label) for label in maps.label.unique().tolist()},
        object_box=record.object_box,
    )


def occlusion_claims(
    records: Sequence[OcclusionRecord], layer: str, control: Sequence[OcclusionRecord] | None = None
) -> list[Claim]:
    """Decide claims 1, 2, 3 and 18 from images with projections, and claim 17 from images with a known object.

    Args:
        records: of all images.
        layer: name of the layer.
        control: of the same images, by a network with randomized weights; None for none.
    """
    other = None if control is None else [record.faithfulness for record in control]
    claims = faithfulness_claims([record.faithfulness for record in records], layer, other)
    localized = [record.localization for record in records]
    if any(localized):
        other_places = None if control is None else [record.localization for record in control]
        claims.append(localization_claim(localized, "", other_places))
    return claims


def occluder_table(claims: Sequence[Claim], others: Mapping[str, Sequence[Claim]]) -> list[Table]:
    """Return the claims' estimates and verdicts by the kind of occluder; none if there is one kind."""
    if not others:
        return []
    rows = [
        [name, *(f"{found[claim.number]}" if claim.number in found else None for claim in claims)]
        for name, found in (
            (name, {one.number: f"{one.verdict}: {one.estimate}" for one in own})
            for name, own in {"this": claims, **others}.items()
        )
    ]
    title = "Claims by the kind of occluder (without the control network)"
    return [Table(title, ["occluder", *(f"claim {claim.number}" for claim in claims)], rows)]


def label_changes(records: Sequence[OcclusionRecord]) -> float:
    """Return the share of positions, in percent, at which the label differs from that of the clean image."""
    changes = [
        float(torch.ne(record.maps.label, record.maps.clean_label).float().mean())
        for record in records
        if record.maps.label is not None and record.maps.clean_label is not None
    ]
    return 100 * float(np.mean(changes))


def occlusion_result(
    records: Sequence[OcclusionRecord],
    network_name: str,
    layer: str,
    stride: int,
    *,
    has_figure: bool,
    controls: Mapping[str, Sequence[OcclusionRecord]] | None = None,
    others: Mapping[str, Sequence[OcclusionRecord]] | None = None,
) -> AnalysisResult:
    """Build the result from all images.

    Args:
        records: of all images, with class and layer.
        network_name: the figure's caption.
        layer: name of the layer.
        stride: of the occluder, in pixels.
        has_figure: whether ``occlusion.png`` was written.
        controls: of the same images, by name of the control network, the fully randomized one last.
        others: of the same images, by the kind of another occluder.
    """
    controls = controls or {}
    claims = occlusion_claims(records, layer, list(controls.values())[-1] if controls else None)
    by_control = {name: occlusion_claims(own, layer) for name, own in controls.items()}
    localized = [record.localization for record in records if record.localization]
    numbers = [Number("images", len(records)), Number("positions where the label changes", label_changes(records), "%")]
    if localized:
        hits = 100 * float(np.mean([localization.hit for localization in localized]))
        numbers.append(Number("pointing game: largest drop is on the object", hits, "%"))
    return AnalysisResult(
        analysis="occlusion",
        title="Occlusion sensitivity",
        reproduces="Fig 7",
        text=(
            f"An occluder of {records[0].maps.size} px slides over the image with a stride of {stride} px. "
            "(a) The image with the occluder where the probability is lowest; the frame is the object. "
            f"(b) Sum over space of the map of {layer} with the greatest activation in the clean image. "
            "(c) Its projection in this image (framed) and in the three other images that excite it most. "
            "(d) Probability of the class. (e) Predicted class. Values are drawn at the occluder's center."
        ),
        numbers=numbers,
        figures=[Figure(FIGURE, "occlusion", network_name)] if has_figure else [],
        tables=[
            *control_table(claims, by_control),
            *occluder_table(claims, {name: occlusion_claims(own, layer) for name, own in (others or {}).items()}),
            *deletion_table([record.deletion for record in records if record.deletion]),
        ],
        claims=claims,
    )
