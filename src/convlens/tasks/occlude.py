"""``task=occlude``: occlusion sensitivity of selected images, and whether the network uses the object (Fig 7)."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from tqdm import tqdm

from convlens.analysis.galleries.map_examples import MapExamples
from convlens.analysis.occlusion.deletion import deletion_curves
from convlens.analysis.occlusion.faithfulness import faithfulness, projection_energies
from convlens.analysis.occlusion.occlude import MapChoice, default_occluder, occlude, positions, strongest_map
from convlens.analysis.occlusion.occluders import OccluderKind, occluder_value
from convlens.analysis.occlusion.result import (
    FIGURE,
    OcclusionRecord,
    figure_row,
    localize_object,
    occlusion_result,
    save_maps,
    selected_projections,
)
from convlens.figures.occlusion import occlusion_sheet
from convlens.figures.png import save_png
from convlens.ops.default_layers import default_layers
from convlens.ops.layer_access import check_outputs
from convlens.runs.analysis import run_analysis
from convlens.runs.control_network import ControlKind, control_networks, count_controls
from convlens.runs.image_selection import ImageSelection, SelectedImage, class_namer, select_images
from convlens.runs.subject import LoadedNetwork
from convlens.runs.typed_settings import Count, Pixel, Positive
from convlens.stats.results import AnalysisResult


@dataclass(frozen=True)
class Settings(ImageSelection):
    """Settings of the task; ``conf/task/occlude.yaml`` has their values and what they mean."""

    size: Positive | None
    stride: Positive | None
    occluder: OccluderKind | Pixel
    layer: str | None
    map_by: MapChoice
    num_examples: Count
    search_images: Count
    control: ControlKind
    other_occluders: Sequence[OccluderKind | Pixel]
    deletion_steps: Count


def run(cfg: DictConfig, overrides: list[str], settings: Settings) -> int:
    """Occlude the selected images, draw some of them, decide the claims, write ``results/occlusion``."""
    return run_analysis(
        cfg, overrides, "occlude", "occlusion", lambda network, folder: analyse(network, folder, settings)
    )


def analyse(network: LoadedNetwork, folder: Path, settings: Settings) -> tuple[AnalysisResult, list[str]]:
    """Write arrays and the figure to ``folder``; return the result and the answer."""
    net, side = network.net, network.data.image_size
    size, stride = (a or b for a, b in zip((settings.size, settings.stride), default_occluder(side), strict=True))
    num_positions = len(positions(side, size, stride)) ** 2
    layer = settings.layer or default_layers(net, side)[-1]
    selected = select_images(network, settings)
    rounds = 1 + count_controls(network, settings.control) + len(settings.other_occluders)
    total = num_positions * len(selected) * rounds
    started = time.monotonic()
    with tqdm(desc="occluder positions", unit="position", total=total, disable=None) as bar:
        measure = partial(
            _measure, network, settings, selected, layer=layer, size=size, stride=stride, on_progress=bar.update
        )
        records = measure(net, settings.occluder, deletion_steps=settings.deletion_steps)
        controls = {
            name: measure(other, settings.occluder)
            for name, other in control_networks(network, settings.control, settings.split)
        }
        others = {str(kind): measure(net, kind) for kind in settings.other_occluders}
    seconds = time.monotonic() - started
    save_maps(records, layer, folder / "maps.npz")
    examples = records[: settings.num_examples]
    if examples:
        _draw(network, settings, examples, layer, folder / FIGURE)
    answer = (
        f"{len(records)} images, {num_positions} positions each, {seconds:.0f} s: "
        f"{1000 * seconds / total:.2f} ms per position"
    )
    result = occlusion_result(
        records, network.name, layer, stride, has_figure=bool(examples), controls=controls, others=others
    )
    return result, [answer]


def _measure(
    network: LoadedNetwork,
    settings: Settings,
    selected: Sequence[SelectedImage],
    net: nn.Module,
    kind: OccluderKind | float,
    *,
    layer: str,
    size: int,
    stride: int,
    on_progress: Callable[[int], object],
    deletion_steps: int = 0,
) -> list[OcclusionRecord]:
    """Occlude the selected images by one kind of occluder, for the network or its control."""
    data, side = network.data, network.data.image_size
    num_maps = check_outputs(net, torch.zeros(1, 3, side, side), [layer])[layer][0]
    records = []
    for item in selected:
        image = item.image
        value = occluder_value(kind, image, mean=data.mean, std=data.std, seed=item.index)
        number = strongest_map(net, image, layer, settings.map_by)
        maps = occlude(
            net,
            image,
            item.target,
            size=size,
            stride=stride,
            layer=layer,
            map=number,
            value=value,
            on_progress=on_progress,
        )
        projections = selected_projections(net, image, maps, layer, num_maps, seed=item.index)
        energies = projection_energies(projections, image) if projections else None
        localization, box = localize_object(maps, _object_mask(network, settings, item))
        records.append(
            OcclusionRecord(
                item.index,
                data.image_id(settings.split, item.index),
                image,
                value,
                maps,
                faithfulness(maps, energies, projections) if energies else None,
                localization,
                box,
                deletion_curves(net, image, value, layer, number, energies, deletion_steps)
                if energies and deletion_steps
                else None,
            )
        )
    return records


def _object_mask(network: LoadedNetwork, settings: Settings, item: SelectedImage) -> Tensor | None:
    """Return the mask of the true class's object if the data have one for each class, else of any object."""
    regions = network.data.regions(settings.split, item.index)
    own = regions.get(network.data.class_names[item.label]) if settings.target == "label" else None
    return regions.get("object") if own is None else own


def _draw(network: LoadedNetwork, settings: Settings, records: list[OcclusionRecord], layer: str, path: Path) -> None:
    """Draw Fig 7 for some images."""
    data = network.data
    loader = data.plain_dataloader(settings.split, settings.search_images) if settings.search_images else None
    examples = MapExamples(network.net, layer, data.dataset(settings.split), loader, data.image_size)
    class_name = class_namer(network, settings.class_map)
    rows = []
    for record in records:
        assert record.maps.map is not None
        tiles = examples.tiles(record.image, record.index, record.maps.map)
        rows.append(figure_row(record, layer, tiles, data.to_display, class_name))
    maps = records[0].maps
    title = f"{network.name}: occluder of {maps.size} px at {len(maps.tops)} x {len(maps.lefts)} positions"
    save_png(occlusion_sheet(rows, title=title), path)
