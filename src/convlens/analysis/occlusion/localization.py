"""Object localization by occlusion: the drop inside and outside the object, and the pointing game (claim 17)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc

from convlens.analysis.occlusion.occlude import OcclusionMaps
from convlens.ops.tensor_repr import summary
from convlens.stats.claims import Claim, claim
from convlens.stats.estimates import mean_of
from convlens.stats.verdicts import paired_control


@dataclass(frozen=True)
class Localization:
    """Decrease of the target's probability inside and outside the object of one image (section 4.2).

    A position is inside if the occluder's center is on the object, and outside if the occluder covers no pixel of it.

    Attributes:
        drop_inside: mean decrease of the probability over positions inside.
        drop_outside: mean decrease over positions outside.
        hit: whether the largest decrease is at a position inside (the pointing game).
        chance: share of all positions that are inside.
        auc: area under the ROC curve of the decrease as a classifier of positions inside against all others.
    """

    drop_inside: float
    drop_outside: float
    hit: bool
    chance: float
    auc: float

    __repr__ = summary


def box_sums(
    values: Float[Tensor, "h w"], tops: Int[Tensor, " rows"], lefts: Int[Tensor, " columns"], size: int
) -> Float[Tensor, "rows columns"]:
    """Sum the values inside the occluder at each position, in float64 (by a summed-area table)."""
    table = torch.zeros(values.shape[0] + 1, values.shape[1] + 1, dtype=torch.float64)
    table[1:, 1:] = values.double().cpu().cumsum(0).cumsum(1)
    rows, columns = tops[:, None], lefts[None]
    below, right = rows + size, columns + size
    return table[below, right] - table[rows, right] - table[below, columns] + table[rows, columns]


def localize(maps: OcclusionMaps, object_mask: Bool[Tensor, "h w"]) -> Localization | None:
    """Compare positions inside the object with positions outside; None if there are none of either."""
    centers = (maps.tops + maps.size // 2)[:, None], (maps.lefts + maps.size // 2)[None]
    inside = object_mask[centers]
    outside = box_sums(object_mask.float(), maps.tops, maps.lefts, maps.size) < 0.5
    if not inside.any() or not outside.any():
        return None
    drop = maps.drop.double().cpu()
    return Localization(
        float(drop[inside].mean()),
        float(drop[outside].mean()),
        bool(inside.flatten()[drop.flatten().argmax()]),
        float(inside.double().mean()),
        float(binary_auroc(_relative_ranks(drop), inside.flatten().long())),
    )


def _relative_ranks(values: Float[Tensor, "*any"]) -> Float[Tensor, " n"]:
    """Return the values' ranks scaled to [0, 1]: ``binary_auroc`` takes other values for logits and rounds them."""
    _, ranks = values.flatten().unique(return_inverse=True)
    return ranks.double() / max(1, int(ranks.max()))


def localization_claim(
    images: Sequence[Localization | None], about: str, control: Sequence[Localization | None] | None = None
) -> Claim:
    """Decide claim 17: occluding the object costs more probability than occluding its surroundings.

    Args:
        images: of each image; None where the object is not known.
        about: what the claim is tested on.
        control: of the same images, by a network with randomized weights; None for none.
    """
    found = [image for image in images if image]
    own = _gains(images)
    hits, aucs = ([getattr(image, name) for image in found] for name in ("hit", "auc"))
    return claim(
        17,
        mean_of(own),
        about=about,
        control=paired_control(own, None if control is None else _gains(control)),
        details={
            "drop inside": str(mean_of(np.array([image.drop_inside for image in found]))),
            "drop outside": str(mean_of(np.array([image.drop_outside for image in found]))),
            "pointing game": f"{mean_of(np.array(hits, float))} where chance is "
            f"{np.mean([image.chance for image in found]):.3f}",
            "AUC of the drop against the object": str(mean_of(np.array(aucs))),
        },
    )


def _gains(images: Sequence[Localization | None]) -> Float[np.ndarray, " n"]:
    """Return the drop inside minus that outside of each image; NaN where the object is not known."""
    return np.array([np.nan if image is None else image.drop_inside - image.drop_outside for image in images])
