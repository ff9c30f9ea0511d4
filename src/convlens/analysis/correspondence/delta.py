"""Delta, the mean Hamming distance of feature changes when the same part is covered in different images (Table 1).

For image i with a part covered, eps_i is the change of a layer's features. Delta is the mean over all ordered pairs of
images of the share of dimensions in which the signs of eps_i and eps_j differ (paper, section 4.3). The lower Delta is,
the more consistently the network treats the part.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Int8
from torch import Tensor, nn

from convlens.analysis.correspondence.random_regions import random_regions
from convlens.analysis.incremental.evaluate import Reading, evaluate_incremental
from convlens.errors import InputError
from convlens.ops.input_checks import (
    check_activations,
    check_choice,
    check_count,
    check_images,
    check_layers,
    check_list,
    check_network,
    check_number,
    check_same_size,
    shown,
)
from convlens.ops.layer_access import check_outputs
from convlens.ops.tensor_repr import summary

SignForm = Literal["three-valued", "non-zero"]
"""Dimensions that count: all, with signs -1, 0 and 1, or those in which at least one of two changes is not zero."""
THREE_VALUED: SignForm = "three-valued"
NONZERO: SignForm = "non-zero"
PERMUTATIONS = 2000


@dataclass(frozen=True)
class PartConsistency:
    """Consistency of one part at one layer, compared with random regions of the same area.

    Attributes:
        delta: Delta of the part, from 0 to 1.
        spread: standard deviation over pairs of images.
        effect: Cohen's d, positive if pairs of random regions differ more than pairs of the part.
        p: one-sided p-value of a permutation test that exchanges part and random region image by image.
    """

    delta: float
    spread: float
    effect: float
    p: float

    __repr__ = summary


def correspondence(
    net: nn.Module,
    images: Sequence[Float[Tensor, "c h w"]] | Float[Tensor, "n c h w"],
    parts: Mapping[str, Sequence[Bool[Tensor, "h w"]]],
    objects: Sequence[Bool[Tensor, "h w"]],
    layers: Sequence[str],
    *,
    value: float = 0.0,
    form: SignForm = THREE_VALUED,
    seed: int = 0,
) -> dict[str, dict[str, PartConsistency]]:
    """Cover each part, and a random region of the object of the same area, in each image (Table 1).

    Args:
        net: the network.
        images: as network input.
        parts: by name, a mask for each image.
        objects: masks of the objects, from which the random regions are drawn.
        layers: module paths; ``""`` is the network's output.
        value: value of covered pixels, as network input.
        form: ``three-valued`` counts all dimensions, ``non-zero`` those in which at least one feature changes.
        seed: random seed of the regions.

    Returns:
        By layer and part, the consistency.

    Raises:
        InputError: fewer than two images, an empty part, or an empty object.
    """
    check_network(net)
    layers = check_layers(layers)
    check_choice("form", form, get_args(SignForm))
    value, seed = check_number("value", value), check_count("seed", seed, 0)
    _check_masks(images, parts, objects)
    masks = []
    for number, inside in enumerate(objects):
        own = [of_part[number] for of_part in parts.values()]
        areas = [int(mask.sum()) for mask in own]
        masks.append([*own, *random_regions(inside, areas, seed + number)])
    signs = sign_changes(net, images, masks, layers, lambda number: torch.full_like(images[number], value))
    return consistencies(signs, list(parts), form)


def _check_masks(images: object, parts: object, objects: object) -> None:
    """Check that there are masks of one size for each image, by name of the part and of the objects."""
    count = check_list("images", images)
    if not isinstance(parts, Mapping) or not parts:
        raise InputError(f"parts={shown(parts)}: give {{name: masks}}, a mask for each image")
    for name, masks in [*((f"parts[{part!r}]", masks) for part, masks in parts.items()), ("objects", objects)]:
        if check_list(name, masks) != count:
            raise InputError(f"{name} has {len(masks)} masks for {count} images: give a mask for each")
        for mask, image in zip(masks, images, strict=True):  # type: ignore[call-overload]
            right = list(check_images(image, "image", axes=(3,)).shape[1:])
            if not isinstance(mask, Tensor) or mask.dtype != torch.bool or list(mask.shape) != right:
                raise InputError(f"{name} has a mask {shown(mask)}: give tensors {right} of true and false")


def sign_changes(
    net: nn.Module,
    images: Sequence[Float[Tensor, "c h w"]] | Float[Tensor, "n c h w"],
    masks: Sequence[Sequence[Bool[Tensor, "h w"]]],
    layers: Sequence[str],
    occluder: Callable[[int], Float[Tensor, "c h w"]],
    on_progress: Callable[[int], object] = lambda count: None,
) -> dict[str, Int8[Tensor, "n masks d"]]:
    """Return the signs of the original image's features minus the covered image's, for each mask.

    Args:
        net: the network.
        images: as network input.
        masks: regions to cover, equally many for each image.
        layers: module paths; ``""`` is the network's output.
        occluder: returns, for the number of an image, the image whose pixels replace the covered ones.
        on_progress: called with the number of covered images that were just evaluated.

    Raises:
        InputError: fewer than two images, or an empty mask.
    """
    if len(images) < 2:
        raise InputError(f"{len(images)} image: correspondence compares at least two")
    check_network(net)
    for image in images:
        check_same_size(check_images(image, "image", axes=(3,)).shape, images[0].shape)
    check_outputs(net, images[0][None], [layer or None for layer in layers])
    found: dict[str, list[Tensor]] = {layer: [] for layer in layers}
    readings = {layer: Reading(lambda maps: maps.flatten(1).clone()) for layer in layers}
    for number, (image, own) in enumerate(zip(images, masks, strict=True)):
        boxes = torch.tensor([[0, 0, 0, 0], *(_bounds(mask, number) for mask in own)])
        covered = torch.stack([image, *(torch.where(mask, occluder(number), image) for mask in own)])
        features = evaluate_incremental(net, image, boxes, covered, readings)
        for layer in layers:
            check_activations(features[layer], layer)
            signs = (features[layer][:1] - features[layer][1:]).sign()
            found[layer].append(signs.to(torch.int8).cpu())
        on_progress(len(own))
    return {layer: torch.stack(signs) for layer, signs in found.items()}


def _bounds(mask: Bool[Tensor, "h w"], number: int) -> list[int]:
    """Return top, left, bottom and right (exclusive) of a mask."""
    rows, columns = mask.any(1).nonzero().flatten().tolist(), mask.any(0).nonzero().flatten().tolist()
    if not rows:
        raise InputError(f"a mask of image {number} is empty: give images in which all parts are visible")
    return [rows[0], columns[0], rows[-1] + 1, columns[-1] + 1]


def hamming(first: Int8[Tensor, "n d"], second: Int8[Tensor, "m d"]) -> dict[SignForm, Float[np.ndarray, "n m"]]:
    """Return the share of dimensions in which signs differ, in both forms; NaN if no dimension counts."""
    agree = torch.zeros(len(first), len(second), dtype=torch.float64)
    for sign in (-1, 0, 1):
        both = (first == sign).float() @ (second == sign).float().T
        agree += both.double()
        if sign == 0:
            both_zero = both.double()
    count = first.shape[1]
    differ = count - agree
    return {THREE_VALUED: (differ / count).numpy(), NONZERO: (differ / (count - both_zero)).numpy()}


def off_diagonal(distances: Float[np.ndarray, "n n"]) -> Float[np.ndarray, " pairs"]:
    """Return the distances of all ordered pairs of different images."""
    return distances[~np.eye(len(distances), dtype=bool)]


def deltas(distances: Float[np.ndarray, "n n"], counts: Float[np.ndarray, "r n"]) -> Float[np.ndarray, " r"]:
    """Return Delta for several samples of the images; NaN for a sample without a pair.

    Args:
        distances: of all pairs of images.
        counts: how often each image is in each sample; copies of an image are not compared with each other.
    """
    known = np.isfinite(distances) & ~np.eye(len(distances), dtype=bool)
    total = ((counts @ np.where(known, distances, 0.0)) * counts).sum(1)
    pairs = ((counts @ known) * counts).sum(1)
    return np.divide(total, pairs, out=np.full(len(counts), np.nan), where=pairs > 0)


def delta(distances: Float[np.ndarray, "n n"]) -> float:
    """Return Delta, the mean over all pairs of different images."""
    return float(deltas(distances, np.ones((1, len(distances))))[0])


def consistency(
    part: Int8[Tensor, "n d"], random: Int8[Tensor, "n d"], form: SignForm, *, seed: int = 0
) -> PartConsistency:
    """Compare the sign changes of a part with those of random regions, one for each image."""
    both = torch.cat([part, random])
    distances = hamming(both, both)[form]
    count = len(part)
    own, other = off_diagonal(distances[:count, :count]), off_diagonal(distances[count:, count:])
    own, other = own[np.isfinite(own)], other[np.isfinite(other)]
    pooled = np.sqrt((own.var() + other.var()) / 2) if len(own) and len(other) else float("nan")
    gap = delta(distances[count:, count:]) - delta(distances[:count, :count])
    exchanged = np.random.default_rng(seed).random((PERMUTATIONS, count)) < 0.5
    as_parts = np.concatenate([~exchanged, exchanged], 1).astype(float)
    as_large = int((deltas(distances, 1 - as_parts) - deltas(distances, as_parts) >= gap).sum())
    return PartConsistency(
        delta(distances[:count, :count]),
        float(own.std()) if len(own) else float("nan"),
        float((other.mean() - own.mean()) / pooled) if pooled > 0 else float("nan"),
        (1 + as_large) / (1 + PERMUTATIONS) if np.isfinite(gap) else float("nan"),
    )


def consistencies(
    signs: Mapping[str, Int8[Tensor, "n masks d"]], parts: Sequence[str], form: SignForm
) -> dict[str, dict[str, PartConsistency]]:
    """Return by layer and part the consistency; the masks after those of the parts are the random regions."""
    return {
        layer: {
            part: consistency(
                changes[:, number], changes[:, len(parts) + number % (changes.shape[1] - len(parts))], form
            )
            for number, part in enumerate(parts)
        }
        for layer, changes in signs.items()
    }
