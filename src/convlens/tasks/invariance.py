"""``task=invariance``: features and outputs under translation, scaling and rotation of the image (Fig 5)."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Annotated, Literal

import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from convlens.analysis.invariance.curves import Distance, Invariance, invariance
from convlens.analysis.invariance.result import draw_images, draw_means, invariance_result, save_curves
from convlens.analysis.invariance.transforms import MAX_TRANSLATION, Border, TransformKind, transform_values
from convlens.data import ImageData
from convlens.errors import InputError
from convlens.ops.default_layers import conv_and_fc_layers, sort_layers
from convlens.runs.analysis import run_analysis
from convlens.runs.control_network import ControlKind, control_networks, count_controls
from convlens.runs.image_selection import ImageSelection, SelectedImage, class_namer, select_images
from convlens.runs.subject import LoadedNetwork
from convlens.runs.typed_settings import Between, Count
from convlens.stats.results import AnalysisResult, Figure

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings(ImageSelection):
    """Settings of the task; ``conf/task/invariance.yaml`` has their values and what they mean."""

    transforms: Sequence[TransformKind]
    steps: Annotated[int, Between(3, 10_000)]
    layers: Sequence[str] | None
    border: Border | Literal["paper"]
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
    sources = {
        kind: source_pixels(data, settings.split, selected, kind, settings.border) for kind in settings.transforms
    }
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
                    sources[kind][0],
                    targets,
                    layers,
                    kind,
                    values[kind],
                    border=sources[kind][1],
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


def source_pixels(
    data: ImageData,
    split: str,
    selected: Sequence[SelectedImage],
    kind: TransformKind,
    border: Border | Literal["paper"],
) -> tuple[list[Tensor], Border]:
    """Return pixels in [0, 255] of the images to be transformed, and the border with which they are.

    Args:
        data: the images.
        split: their split.
        selected: the images.
        kind: the transformation.
        border: ``source`` takes the whole stored images, others the center crops. ``paper`` is ``source`` for
            translations, of images that are enlarged if the largest one would leave them, and ``black`` for others.
    """
    if border == "paper":
        border = "source" if kind == "translation" else "black"
        needed = data.image_size + 2 * round(MAX_TRANSLATION * data.image_size)
    else:
        needed = 0
    if border != "source":
        return [image.float() for image in data.to_display(torch.stack([item.image for item in selected]))], border
    stored = [image.float() for image in data.dataset(split).read_pixels([item.index for item in selected])]
    if (side := min(stored[0].shape[1:])) < needed:
        log.info(
            "translation: images of %d px are enlarged to %d px, so that none leaves its image; data.stored_size=%d "
            "reads them at that size",
            *(side, needed, needed),
        )
        size = [ceil(length * needed / side) for length in stored[0].shape[1:]]
        stored = [F.interpolate(image[None], size, mode="bilinear", antialias=True)[0] for image in stored]
    return stored, border


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
    sources: Mapping[TransformKind, tuple[list[Tensor], Border]],
    targets: Sequence[int],
    folder: Path,
) -> list[Figure]:
    """Draw means over all images, and some single images first."""
    figures = draw_means(by_kind, settings.distance, network.name, folder)
    if settings.num_examples:
        class_name = class_namer(network, settings.class_map)
        names = [class_name(target) for target in targets[: settings.num_examples]]
        few: dict[str, tuple[Sequence[Tensor], Border]] = {
            kind: (images[: len(names)], border) for kind, (images, border) in sources.items()
        }
        sheet = draw_images(by_kind, few, names, settings.distance, network.data.image_size, network.name, folder)
        figures.insert(0, sheet)
    return figures
