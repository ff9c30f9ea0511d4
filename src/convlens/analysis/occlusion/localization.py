"""Does a network look at the object, or at what is around it (claim 17; paper, section 4.2)?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc

from convlens.analysis.occlusion.occlude import OcclusionMaps
from convlens.stats.claims import Claim, bootstrap, mean_of, verdict


@dataclass(frozen=True)
class Localization:
    """How an image's drop of the target's probability lies to its object.

    A place of the square is inside if the square's middle is on the object, and outside if the square covers nothing
    of it; the squares are equally large.

    Attributes:
        inside: mean drop over the places inside.
        outside: the same outside.
        hit: whether the greatest drop is at a place inside (the pointing game).
        chance: share of all places that are inside.
        auc: area under the ROC curve of telling places inside from all others by their drop.
    """

    inside: float
    outside: float
    hit: bool
    chance: float
    auc: float


def box_sums(picture: Float[Tensor, "h w"], tops: Tensor, lefts: Tensor, size: int) -> Float[Tensor, "rows columns"]:
    """Sums of a picture over the squares at all places, in float64."""
    table = torch.zeros(picture.shape[0] + 1, picture.shape[1] + 1, dtype=torch.float64)
    table[1:, 1:] = picture.double().cpu().cumsum(0).cumsum(1)
    rows, columns = tops[:, None], lefts[None]
    below, right = rows + size, columns + size
    return table[below, right] - table[rows, right] - table[below, columns] + table[rows, columns]


def localize(maps: OcclusionMaps, thing: Bool[Tensor, "h w"]) -> Localization | None:
    """Compares the places inside of the object with those outside; None if there are none of either."""
    middles = (maps.tops + maps.size // 2)[:, None], (maps.lefts + maps.size // 2)[None]
    inside = thing[middles]
    outside = box_sums(thing.float(), maps.tops, maps.lefts, maps.size) < 0.5
    if not inside.any() or not outside.any():
        return None
    drop = maps.drop.double().cpu()
    return Localization(
        float(drop[inside].mean()),
        float(drop[outside].mean()),
        bool(inside.flatten()[drop.flatten().argmax()]),
        float(inside.double().mean()),
        float(binary_auroc(_ranked(drop), inside.flatten().long())),
    )


def _ranked(values: Tensor) -> Tensor:
    """Values as ranks within 0 and 1, since what is measured takes anything else for logits and rounds them."""
    _, ranks = values.flatten().unique(return_inverse=True)
    return ranks.double() / max(1, int(ranks.max()))


def localization_claim(found: Sequence[Localization], about: str) -> Claim:
    """Claim 17 over several images."""
    inside, outside = (np.array([getattr(item, name) for item in found]) for name in ("inside", "outside"))
    gain = mean_of(inside - outside)
    hits = mean_of(np.array([float(item.hit) for item in found]))
    chance = float(np.mean([item.chance for item in found]))
    auc = bootstrap(len(found), lambda rows: float(np.mean([found[row].auc for row in rows])))
    controls = {
        "drop inside": f"{inside.mean():.3f}",
        "drop outside": f"{outside.mean():.3f}",
        "pointing game": f"{hits} where chance is {chance:.3f}",
        "AUC of the drop against the object": str(auc),
    }
    return Claim(
        17, about, "drop of the probability, inside less outside of the object, against 0", gain,
        verdict(gain.against(0)), controls=controls,
    )  # fmt: skip
