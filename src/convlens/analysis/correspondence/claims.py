"""Claim 19: parts correspond at layer 5, less at layer 7 (paper, Table 1)."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int8
from torch import Tensor

from convlens.analysis.correspondence.delta import SignForm, deltas, hamming
from convlens.stats.claims import RESAMPLES, Claim, interval, verdict

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


def correspondence_claim(
    signs: Mapping[str, Int8[Tensor, "n masks d"]], parts: Sequence[str], lower: str, upper: str, form: SignForm
) -> Claim:
    """Return claim 19: Delta of random regions over that of parts exceeds 1 at the lower layer, more than at the upper.

    Args:
        signs: sign changes by layer; the masks after those of the parts are the random regions.
        parts: names of the parts.
        lower: name of the lower layer.
        upper: name of the upper layer.
        form: which dimensions count.
    """
    tables = {layer: mask_distances(signs[layer], form) for layer in (lower, upper)}
    count = len(signs[lower])
    drawn = np.random.default_rng(0).integers(0, count, (RESAMPLES, count))
    resampled = np.stack([np.bincount(rows, minlength=count) for rows in drawn]).astype(float)
    # The first sample is all images, the others are bootstrap samples.
    counts = np.concatenate([np.ones((1, count)), resampled])
    found = {layer: delta_ratios(table, len(parts), counts) for layer, table in tables.items()}
    estimates = {layer: interval(values[0], values[1:], count) for layer, values in found.items()}
    gaps = found[lower] - found[upper]
    gain = interval(gaps[0], gaps[1:], count)
    return Claim(
        19,
        f"{lower or 'output'} and {upper or 'output'}, {form} signs",
        "Delta of random regions over that of parts at the lower layer, above 1; and this ratio minus that at the "
        "upper layer, above 0",
        estimates[lower],
        verdict(estimates[lower].against(1), gain.against(0)),
        paper="1.60, 1.55 and 1.35 at layer 5; 1.06, 1.07 and 1.06 at layer 7",
        controls={f"ratio, {upper or 'output'}": str(estimates[upper]), "lower minus upper layer": str(gain)},
    )
