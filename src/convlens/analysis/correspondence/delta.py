"""Does covering the same part change the features of different images in the same way (paper, section 4.3, Table 1)?

For image i with a part covered, eps_i is the change of a layer's features; Delta is the mean, over all ordered pairs
of images, of the share of dimensions in which the signs of eps_i and eps_j differ. The lower it is, the more consistent
is what the part does.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int8
from torch import Tensor, nn

from convlens.analysis.incremental.evaluate import Reading, evaluate_incremental
from convlens.errors import InputError

THREE, NONZERO = "three-valued", "non-zero"
"""Signs of -1, 0 and 1 (0 and 0 agree), or only the dimensions in which either of the two changes."""
PERMUTATIONS = 2000
TRIES = 64


def sign_changes(
    net: nn.Module,
    images: Sequence[Float[Tensor, "c h w"]] | Float[Tensor, "n c h w"],
    masks: Sequence[Sequence[Bool[Tensor, "h w"]]],
    layers: Sequence[str],
    fill: Callable[[int], Float[Tensor, "c h w"]],
    step: Callable[[int], Any] = lambda count: None,
) -> dict[str, Int8[Tensor, "n masks d"]]:
    """Signs of how each mask changes each image's features: of the original less the covered image's.

    Args:
        net: the network.
        images: as the network reads them.
        masks: what is covered, for each image as many.
        layers: module paths; ``recompute.OUTPUT`` is the network's output.
        fill: gives, for the number of an image, what is shown where it is covered.
        step: told, as the work goes on, how many covered images are done.

    Raises:
        InputError: fewer than two images, or a mask that covers nothing.
    """
    if len(images) < 2:
        raise InputError(f"{len(images)} image: a correspondence is one of at least two")
    found: dict[str, list[Tensor]] = {layer: [] for layer in layers}
    readings = {layer: Reading(lambda maps: maps.flatten(1).clone()) for layer in layers}
    for number, (image, own) in enumerate(zip(images, masks, strict=True)):
        boxes = torch.tensor([[0, 0, 0, 0], *(_bounds(mask, number) for mask in own)])
        covered = torch.stack([image, *(torch.where(mask, fill(number), image) for mask in own)])
        given = evaluate_incremental(net, image, boxes, covered, readings)
        for layer in layers:
            signs = (given[layer][:1] - given[layer][1:]).sign()
            found[layer].append(signs.to(torch.int8).cpu())
        step(len(own))
    return {layer: torch.stack(signs) for layer, signs in found.items()}


def _bounds(mask: Bool[Tensor, "h w"], number: int) -> list[int]:
    rows, columns = mask.any(1).nonzero().flatten().tolist(), mask.any(0).nonzero().flatten().tolist()
    if not rows:
        raise InputError(f"nothing is to be covered in image {number}: the part is not visible there")
    return [rows[0], columns[0], rows[-1] + 1, columns[-1] + 1]


def hamming(first: Int8[Tensor, "n d"], second: Int8[Tensor, "m d"]) -> dict[str, Float[np.ndarray, "n m"]]:
    """Shares of dimensions in which signs differ, in both forms; NaN where nothing changes at all."""
    agree = torch.zeros(len(first), len(second), dtype=torch.float64)
    for sign in (-1, 0, 1):
        both = (first == sign).float() @ (second == sign).float().T
        agree += both.double()
        if sign == 0:
            still = both.double()
    count = first.shape[1]
    differ = count - agree
    return {THREE: (differ / count).numpy(), NONZERO: (differ / (count - still)).numpy()}


def off_diagonal(distances: Float[np.ndarray, "n n"]) -> Float[np.ndarray, " pairs"]:
    """All ordered pairs of two different images."""
    return distances[~np.eye(len(distances), dtype=bool)]


def deltas(distances: Float[np.ndarray, "n n"], counts: Float[np.ndarray, "r n"]) -> Float[np.ndarray, " r"]:
    """Means over all pairs of different images, for several choices: how often each image is in them.

    An image that was drawn twice is never compared with itself. NaN where there is no pair.
    """
    known = np.isfinite(distances) & ~np.eye(len(distances), dtype=bool)
    total = ((counts @ np.where(known, distances, 0.0)) * counts).sum(1)
    pairs = ((counts @ known) * counts).sum(1)
    return np.divide(total, pairs, out=np.full(len(counts), np.nan), where=pairs > 0)


def delta(distances: Float[np.ndarray, "n n"]) -> float:
    """The mean over all pairs of different images."""
    return float(deltas(distances, np.ones((1, len(distances))))[0])


def random_masks(inside: Bool[Tensor, "h w"], areas: Sequence[int], seed: int) -> list[Bool[Tensor, "h w"]]:
    """Discs of these areas at random places of the object: inside of it, or of a few tries the one that is most so.

    Raises:
        InputError: there is no object.
    """
    places = inside.nonzero()
    if not len(places):
        raise InputError("random places are drawn from the object, but there is none: its mask is empty")
    rng = np.random.default_rng(seed)
    height, width = inside.shape
    y, x = torch.arange(height)[:, None], torch.arange(width)[None]
    masks = []
    for area in areas:
        best, most = torch.zeros(height, width, dtype=torch.bool), -1
        for number in rng.integers(len(places), size=TRIES):
            away = (y - places[number][0]) ** 2 + (x - places[number][1]) ** 2
            # The nearest pixels: a disc of that area to the pixel, also where the border cuts it.
            mask = torch.zeros(height * width, dtype=torch.bool)
            mask[away.flatten().argsort(stable=True)[: max(1, area)]] = True
            covered = int((mask.view(height, width) & inside).sum())
            if covered > most:
                best, most = mask.view(height, width), covered
            if covered == int(mask.sum()):
                break
        masks.append(best)
    return masks


@dataclass(frozen=True)
class PartConsistency:
    """What one part does at one layer, beside random places of the same area.

    Attributes:
        delta: of the part.
        spread: standard deviation over pairs of images.
        effect: Cohen's d of the random pairs less the part's.
        p: of a permutation test: how often exchanging part and random place, image by image, gives as large a
            difference.
    """

    delta: float
    spread: float
    effect: float
    p: float


def consistency(part: Int8[Tensor, "n d"], random: Int8[Tensor, "n d"], form: str, *, seed: int = 0) -> PartConsistency:
    """Compares a part with random places, one for each image."""
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


def table_rows(
    signs: Mapping[str, Int8[Tensor, "n masks d"]], parts: Sequence[str], form: str
) -> dict[str, dict[str, PartConsistency]]:
    """For each layer, each part against the random places, which are the masks after the parts'."""
    return {
        layer: {
            part: consistency(changes[:, number], changes[:, len(parts) + number % _spare(changes, parts)], form)
            for number, part in enumerate(parts)
        }
        for layer, changes in signs.items()
    }


def correspondence(
    net: nn.Module,
    images: Sequence[Float[Tensor, "c h w"]] | Float[Tensor, "n c h w"],
    parts: Mapping[str, Sequence[Bool[Tensor, "h w"]]],
    objects: Sequence[Bool[Tensor, "h w"]],
    layers: Sequence[str],
    *,
    value: float = 0.0,
    form: str = THREE,
    seed: int = 0,
) -> dict[str, dict[str, PartConsistency]]:
    """Cover each part, and as large a random place of the object, in each image; for each layer and part the outcome.

    Args:
        net: the network.
        images: as it reads them.
        parts: by name a mask for each image.
        objects: masks of the objects, from which the random places are drawn.
        layers: module paths; ``recompute.OUTPUT`` is the network's output.
        value: what covered pixels are, as the network reads them.
        form: ``three-valued`` or ``non-zero`` signs.
        seed: of the random places.

    Raises:
        InputError: fewer than two images, a part that is not visible, or no object.
    """
    masks = []
    for number, inside in enumerate(objects):
        own = [of_part[number] for of_part in parts.values()]
        areas = [int(mask.sum()) for mask in own]
        masks.append([*own, *random_masks(inside, areas, seed + number)])
    signs = sign_changes(net, images, masks, layers, lambda number: torch.full_like(images[number], value))
    return table_rows(signs, list(parts), form)


def _spare(changes: Tensor, parts: Sequence[str]) -> int:
    return changes.shape[1] - len(parts)
