"""Claim 19: parts correspond at layer 5, less at layer 7 (paper, Table 1)."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int8
from torch import Tensor

from convlens.analysis.correspondence.delta import deltas, hamming
from convlens.stats.claims import RESAMPLES, Claim, interval, verdict

PAPER = {
    "right_eye": (0.067, 0.069), "left_eye": (0.069, 0.068), "nose": (0.079, 0.069), "random": (0.107, 0.073),
}  # fmt: skip
"""Delta at layers 5 and 7."""


def all_distances(changes: Int8[Tensor, "n masks d"], form: str) -> list[Float[np.ndarray, "n n"]]:
    """For each mask the distances of all pairs of images."""
    return [hamming(changes[:, number], changes[:, number])[form] for number in range(changes.shape[1])]


def ratios(
    distances: Sequence[Float[np.ndarray, "n n"]], parts: int, counts: Float[np.ndarray, "r n"]
) -> Float[np.ndarray, " r"]:
    """Delta of the random places (the masks after the parts') over that of the parts, both means; for each choice."""
    values = np.stack([deltas(one, counts) for one in distances])
    own, other = values[:parts].mean(0), values[parts:].mean(0)
    return np.divide(other, own, out=np.full(len(own), np.nan), where=own > 0)


def draws_of_five(
    distances: Sequence[Float[np.ndarray, "n n"]], size: int = 5, draws: int = 200, seed: int = 0
) -> list[tuple[float, float]]:
    """For each mask, mean and standard deviation of Delta over random choices of five images, as in the paper."""
    rng = np.random.default_rng(seed)
    count = len(distances[0])
    counts = np.zeros((draws, count))
    for row in counts:
        row[rng.choice(count, min(size, count), replace=False)] = 1
    values = [deltas(one, counts) for one in distances]
    return [(float(np.nanmean(row)), float(np.nanstd(row))) for row in values]


def correspondence_claim(
    signs: Mapping[str, Int8[Tensor, "n masks d"]], parts: Sequence[str], lower: str, upper: str, form: str
) -> Claim:
    """Random places over parts: above 1 at the lower layer, and lower at the upper one; over images."""
    tables = {layer: all_distances(signs[layer], form) for layer in (lower, upper)}
    count, number = len(signs[lower]), len(parts)
    drawn = np.random.default_rng(0).integers(0, count, (RESAMPLES, count))
    counts = np.stack([np.bincount(rows, minlength=count) for rows in drawn]).astype(float)
    # The whole first, then the resamples.
    counts = np.concatenate([np.ones((1, count)), counts])
    found = {layer: ratios(table, number, counts) for layer, table in tables.items()}
    estimates = {layer: interval(values[0], values[1:], count) for layer, values in found.items()}
    apart = found[lower] - found[upper]
    gain = interval(apart[0], apart[1:], count)
    return Claim(
        19,
        f"{lower or 'output'} and {upper or 'output'}, {form} signs",
        "Delta of random places over that of parts at the lower layer, against 1; and less the same at the upper "
        "layer, against 0",
        estimates[lower],
        verdict(estimates[lower].against(1), gain.against(0)),
        paper="1.60, 1.55 and 1.35 at layer 5; 1.06, 1.07 and 1.06 at layer 7",
        controls={f"ratio, {upper or 'output'}": str(estimates[upper]), "lower less upper layer": str(gain)},
    )
