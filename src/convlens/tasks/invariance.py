"""``task=invariance``: features and outputs under translation, scaling and rotation of the image (Fig 5)."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from tqdm import tqdm

from convlens.analysis.invariance.curves import Distance, Invariance, invariance
from convlens.analysis.invariance.result import draw_images, draw_means, invariance_result, save_curves
from convlens.analysis.invariance.transforms import Border, TransformKind, transform_values
from convlens.data import ImageData
from convlens.errors import InputError
from convlens.ops.default_layers import conv_and_fc_layers, sort_layers
from convlens.runs.analysis import run_analysis
from convlens.runs.control_network import ControlKind, control_networks, count_controls
from convlens.runs.image_selection import ImageSelection, SelectedImage, class_namer, select_images
from convlens.runs.subject import LoadedNetwork
from convlens.runs.typed_settings import Between, Count
from convlens.stats.results import AnalysisResult, Figure


@dataclass(frozen=True)
class Settings(ImageSelection):
    """Settings of the task; ``conf/task/invariance.yaml`` has their values and what they mean."""

    transforms: Sequence[TransformKind]
    steps: Annotated[int, Between(3, 10_000)]
    layers: Sequence[str] | None
    border: Border
    distance: Distance
    symmetric: Sequence[str] | None
    num_examples: Count
    control: ControlKind


def run(cfg: DictConfig, overrides: list[str], settings: Settings) -> int:
    """Transform the selected images, draw the curves, decide the claims, write ``results/invariance``."""
    if not settings.transforms:
        raise InputError("task.transforms is empty: give translation, scale or rotation")
    return run_analysis(
        cfg, overrides, "invariance", "invariance", lambda network, folder: analyse(network, folder, settings)
    )


def analyse(network: LoadedNetwork, folder: Path, settings: Settings) -> tuple[AnalysisResult, list[str]]:
    """Write arrays and figures to ``folder``; return the result and the answer."""
    data, side = network.data, network.data.image_size
    symmetric = _symmetric_classes(data, settings.symmetric)
    layers = sort_layers(network.net, settings.layers or conv_and_fc_layers(network.net, side))
    selected = select_images(network, settings)
    sources = source_pixels(data, settings.split, selected, settings.border)
    targets = [item.target for item in selected]
    values = {kind: transform_values(kind, side, settings.steps) for kind in settings.transforms}
    num_transforms = sum(map(len, values.values()))
    started = time.monotonic()
    num_networks = 1 + count_controls(network, settings.control)
    total = len(selected) * num_transforms * num_networks
    with tqdm(desc="transformed images", unit="image", total=total, disable=None) as bar:

        def measure(net: nn.Module) -> dict[str, Invariance]:
            return {
                kind: invariance(
                    net,
                    sources,
                    targets,
                    layers,
                    kind,
                    values[kind],
                    border=settings.border,
                    size=side,
                    preprocess=network.preprocess,
                    on_progress=bar.update,
                )
                for kind in values
            }

        by_kind = measure(network.net)
        controls = {name: measure(net) for name, net in control_networks(network, settings.control, settings.split)}
    seconds = time.monotonic() - started
    image_ids = [data.image_id(settings.split, item.index) for item in selected]
    for curves in by_kind.values():
        save_curves(curves, image_ids, targets, folder / f"{curves.kind}.npz")
    result = invariance_result(
        by_kind,
        distance=settings.distance,
        border=settings.border,
        side=side,
        symmetric=None if symmetric is None else [item.label in symmetric for item in selected],
        controls=controls,
        figures=_draw(network, settings, by_kind, sources, targets, folder),
    )
    counts = f"{len(selected)} images, {num_transforms} transformations of each, {len(layers)} layers"
    return result, [f"{counts}, {seconds:.0f} s"]


def source_pixels(data: ImageData, split: str, selected: Sequence[SelectedImage], border: Border) -> list[Tensor]:
    """Return pixels in [0, 255] of the images: the center crops, or the whole stored images for ``source``."""
    if border == "source":
        return [image.float() for image in data.dataset(split).read_pixels([item.index for item in selected])]
    return [image.float() for image in data.to_display(torch.stack([item.image for item in selected]))]


def _symmetric_classes(data: ImageData, names: Sequence[str] | None) -> set[int] | None:
    """Return the indices of classes with a rotational symmetry; None for None."""
    if names is None:
        return None
    if unknown := sorted(set(names) - set(data.class_names)):
        raise InputError(f"task.symmetric: {unknown[0]!r} is no class of the data")
    return {data.class_names.index(name) for name in names}


def _draw(
    network: LoadedNetwork,
    settings: Settings,
    by_kind: dict[str, Invariance],
    sources: Sequence[Tensor],
    targets: Sequence[int],
    folder: Path,
) -> list[Figure]:
    """Draw means over all images, and some single images first."""
    figures = draw_means(by_kind, settings.distance, network.name, folder)
    if settings.num_examples:
        class_name = class_namer(network, settings.class_map)
        names = [class_name(target) for target in targets[: settings.num_examples]]
        few, side = sources[: len(names)], network.data.image_size
        sheet = draw_images(by_kind, few, names, settings.distance, settings.border, side, network.name, folder)
        figures.insert(0, sheet)
    return figures
