"""``task=correspond``: does covering the same part change different images' features alike (Fig 8, Table 1)?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Bool, Float
from omegaconf import DictConfig
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from convlens.analysis.correspondence.delta import sign_changes
from convlens.analysis.correspondence.random_regions import random_regions
from convlens.analysis.correspondence.result import FIGURE, correspondence_result, save_signs
from convlens.analysis.occlusion.occluders import OccluderKind, occluder_value
from convlens.errors import InputError
from convlens.figures.map_rows import rows_sheet
from convlens.figures.png import save_png
from convlens.ops.default_layers import sort_layers, top_conv_and_fc_layers
from convlens.ops.layer_access import check_outputs
from convlens.runs.analysis import run_analysis
from convlens.runs.control_network import ControlKind, control_networks, count_controls
from convlens.runs.image_selection import class_index
from convlens.runs.subject import LoadedNetwork
from convlens.runs.typed_settings import AtLeast, Between, Count, Pixel
from convlens.stats.results import AnalysisResult


@dataclass(frozen=True)
class Settings:
    """Settings of the task; ``conf/task/correspond.yaml`` has their values and what they mean."""

    split: str
    images: Annotated[int, AtLeast(2)]
    label: str | int | None
    parts: Sequence[str]
    layers: Sequence[str] | None
    random_regions: Annotated[int, Between(1, 1000)]
    occluder: OccluderKind | Pixel
    num_examples: Count
    control: ControlKind


def run(cfg: DictConfig, overrides: list[str], settings: Settings) -> int:
    """Cover parts and random regions, compare the signs of the changes, write ``results/correspondence``."""
    if not settings.parts:
        raise InputError("task.parts is empty: give names of parts, such as nose")
    return run_analysis(
        cfg, overrides, "correspond", "correspondence", lambda network, folder: analyse(network, folder, settings)
    )


def analyse(network: LoadedNetwork, folder: Path, settings: Settings) -> tuple[AnalysisResult, list[str]]:
    """Write arrays and the figure to ``folder``; return the result and the answer."""
    net, data = network.net, network.data
    layers = sort_layers(net, settings.layers or top_conv_and_fc_layers(net, data.image_size))
    if len(layers) < 2:
        raise InputError(
            f"task.layers=[{','.join(layers)}]: give two layers, the claim compares a lower with an upper one"
        )
    selected = images_with_parts(network, settings)
    dataset = data.dataset(settings.split)
    check_outputs(net, dataset[selected[0][0]][0][None], [layer or None for layer in layers])
    images = [dataset[index][0] for index, _ in selected]
    masks = [_masks(regions, settings, index) for index, regions in selected]

    def occluder(number: int) -> Float[Tensor, "c h w"]:
        seed = selected[number][0]
        return occluder_value(settings.occluder, images[number], mean=data.mean, std=data.std, seed=seed)

    total = len(masks) * len(masks[0]) * (1 + count_controls(network, settings.control))
    with tqdm(desc="covered images", unit="image", total=total, disable=None) as bar:
        signs = sign_changes(net, images, masks, layers, occluder, bar.update)
        controls = {
            name: sign_changes(other, images, masks, layers, occluder, bar.update)
            for name, other in control_networks(network, settings.control, settings.split)
        }
    image_ids = [data.image_id(settings.split, index) for index, _ in selected]
    save_signs(signs, masks, image_ids, folder / "signs.npz")
    if settings.num_examples:
        covered = [
            torch.stack([images[i], *(torch.where(mask, occluder(i), images[i]) for mask in masks[i])])
            for i in range(min(settings.num_examples, len(images)))
        ]
        save_png(_sheet(network, settings.parts, covered), folder / FIGURE)
    result = correspondence_result(signs, settings.parts, has_figure=settings.num_examples > 0, controls=controls)
    answer = [
        f"{len(images)} images, {len(settings.parts)} parts, {settings.random_regions} random regions for each part"
    ]
    return result, answer + ["  " + "  ".join(map(str, row)) for row in result.tables[0].rows]


def images_with_parts(network: LoadedNetwork, settings: Settings) -> list[tuple[int, dict[str, Bool[Tensor, "h w"]]]]:
    """Return index and regions of the first images of the split in which all parts and the object are known.

    Raises:
        InputError: there are fewer than two.
    """
    data, found = network.data, []
    label = class_index(data, settings.label)
    known: set[str] = set()
    for index, own in enumerate(data.dataset(settings.split).labels.tolist()):
        if label is not None and own != label:
            continue
        regions = data.regions(settings.split, index)
        known |= set(regions)
        if all(part in regions and regions[part].any() for part in [*settings.parts, "object"]):
            found.append((index, regions))
        if len(found) == settings.images:
            return found
    if len(found) < 2:
        names = (
            f"known are {', '.join(sorted(known))}" if known else "the data know no parts: see data=parts, data=pointed"
        )
        raise InputError(
            f"{len(found)} {settings.split} images show {', '.join(settings.parts)} of an object: at least two are "
            f"needed; {names}"
        )
    return found


def _masks(regions: Mapping[str, Tensor], settings: Settings, index: int) -> list[Bool[Tensor, "h w"]]:
    """Return the masks of the parts, then those of the random regions."""
    own = [regions[part] for part in settings.parts]
    areas = [int(part.sum()) for _ in range(settings.random_regions) for part in own]
    return [*own, *random_regions(regions["object"], areas, seed=index)]


def _sheet(
    network: LoadedNetwork, parts: Sequence[str], covered: Sequence[Float[Tensor, "masks c h w"]]
) -> Image.Image:
    """Draw each image as it is, then with each part and random region covered (Fig 8)."""
    names = ["original", *parts, *(f"random {n}" for n in range(1, len(covered[0]) - len(parts)))]
    pixels = [network.data.to_display(images).permute(0, 2, 3, 1).cpu().numpy() for images in covered]
    rows = {name: [np.stack([own[number] for own in pixels])] for number, name in enumerate(names)}
    title = f"{network.name}: parts and random regions covered"
    return rows_sheet(rows, [""], title=title, note="A column is an image, a row the region that is covered.")
