"""Claim 19: parts correspond at layer 5, less at layer 7 (paper, Table 1)."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int, Int8
from torch import Tensor

from convlens.analysis.correspondence.delta import NONZERO, THREE_VALUED, SignForm, deltas, hamming
from convlens.stats.claims import Claim, claim
from convlens.stats.estimates import Estimate, statistic_of
from convlens.stats.verdicts import Control

PAPER = {
    "right_eye": (0.067, 0.069),
    "left_eye": (0.069, 0.068),
    "nose": (0.079, 0.069),
    "random": (0.107, 0.073),
}
"""Delta at layers 5 and 7 in Table 1."""


def mask_distances(changes: Int8[Tensor, "n masks d"], form: SignForm) -> list[Float[np.ndarray, "n n"]]:
    """Return for each mask the distances of all pairs of images."""
    return [hamming(changes[:, number], changes[:, number])[form] for number in range(changes.shape[1])]


def delta_ratios(
    distances: Sequence[Float[np.ndarray, "n n"]], parts: int, counts: Float[np.ndarray, "r n"]
) -> Float[np.ndarray, " r"]:
    """Return the mean Delta of the random regions over the mean Delta of the parts.

    Args:
        distances: for each mask, of all pairs of images; the random regions come after the parts.
        parts: number of parts.
        counts: how often each image is in each of r samples.
    """
    values = np.stack([deltas(one, counts) for one in distances])
    own, other = values[:parts].mean(0), values[parts:].mean(0)
    return np.divide(other, own, out=np.full(len(own), np.nan), where=own > 0)


def delta_of_five(
    distances: Sequence[Float[np.ndarray, "n n"]], size: int = 5, draws: int = 200, seed: int = 0
) -> list[tuple[float, float]]:
    """Return for each mask mean and standard deviation of Delta over random samples of five images, as in Table 1."""
    rng = np.random.default_rng(seed)
    count = len(distances[0])
    counts = np.zeros((draws, count))
    for row in counts:
        row[rng.choice(count, min(size, count), replace=False)] = 1
    values = [deltas(one, counts) for one in distances]
    return [(float(np.nanmean(row)), float(np.nanstd(row))) for row in values]


Signs = Mapping[str, Int8[Tensor, "n masks d"]]
"""Sign changes by layer; the masks after those of the parts are the random regions."""


def correspondence_claim(
    signs: Signs, parts: Sequence[str], lower: str, upper: str, control: Signs | None = None
) -> Claim:
    """Decide claim 19: Delta of random regions over that of parts exceeds 1 at the lower layer, more than at the upper.

    The units are the images. The form of Delta that decides is the paper's, with three-valued signs.

    Args:
        signs: by layer.
        parts: names of the parts.
        lower: name of the lower layer.
        upper: name of the upper layer.
        control: of the same images and masks, by a network with randomized weights; None for none.
    """
    own, other = (_Ratios(one, len(parts)) if one else None for one in (signs, control))
    assert own is not None
    ratio, gap = own.estimate(lower), own.difference(lower, upper)
    details = {f"ratio, {upper or 'output'}": str(own.estimate(upper)), "lower minus upper layer": str(gap)}
    nonzero = _Ratios(signs, len(parts), NONZERO)
    details |= {
        f"ratio, {layer or 'output'}, {NONZERO} signs": str(nonzero.estimate(layer)) for layer in (lower, upper)
    }
    return claim(
        19,
        ratio,
        about=f"{lower or 'output'} and {upper or 'output'}",
        required=[(gap, 0.0)],
        control=None if other is None else Control(other.estimate(lower), own.gain_over(other, lower)),
        paper="1.60, 1.55 and 1.35 at layer 5; 1.06, 1.07 and 1.06 at layer 7",
        details=details,
    )


class _Ratios:
    """Ratios of Delta of random regions to that of parts, by layer, over samples of the images."""

    def __init__(self, signs: Signs, parts: int, form: SignForm = THREE_VALUED) -> None:
        self.tables = {layer: mask_distances(changes, form) for layer, changes in signs.items()}
        self.count, self.parts = len(next(iter(signs.values()))), parts

    def ratio(self, layer: str, rows: Int[np.ndarray, " k"]) -> float:
        counts = np.bincount(rows, minlength=self.count).astype(float)[None]
        return float(delta_ratios(self.tables[layer], self.parts, counts)[0])

    def estimate(self, layer: str) -> Estimate:
        return statistic_of(self.count, lambda rows: self.ratio(layer, rows))

    def difference(self, lower: str, upper: str) -> Estimate:
        return statistic_of(self.count, lambda rows: self.ratio(lower, rows) - self.ratio(upper, rows))

    def gain_over(self, other: "_Ratios", layer: str) -> Estimate:
        return statistic_of(self.count, lambda rows: self.ratio(layer, rows) - other.ratio(layer, rows))
