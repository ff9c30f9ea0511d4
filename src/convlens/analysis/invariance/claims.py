"""Claims 10 to 13 about invariance, decided from the curves of several images (section 4.1, Fig 5)."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float

from convlens.analysis.invariance.curves import Invariance
from convlens.analysis.invariance.transforms import SMALL
from convlens.stats.claims import Claim, difference, mean_of, verdict

UNITS = {"translation": " px", "scale": " times", "rotation": " degrees"}
DISPLACEMENTS = 32
"""Number of displacements over which the change of the probability is averaged (claim 12)."""


def small_value_index(curves: Invariance, side: int) -> int:
    """Return the index of the value nearest to a small one (4 of 224 px, 5 %, 5 degrees) that is not the identity."""
    small = SMALL[curves.kind] * side if curves.kind == "translation" else SMALL[curves.kind]
    distance = np.abs(curves.values - small)
    distance[curves.values == curves.identity] = np.inf
    return int(distance.argmin())


def line_r_squared(x: Float[np.ndarray, " t"], y: Float[np.ndarray, " t"]) -> float:
    """Return R squared of the least-squares line; NaN if ``y`` is constant."""
    centerd = y - y.mean()
    if not (centerd**2).sum() > 0:
        return float("nan")
    slope, intercept = np.polyfit(x, y, 1)
    return float(1 - ((y - slope * x - intercept) ** 2).sum() / (centerd**2).sum())


def mean_displacement(kind: str, values: Float[np.ndarray, " t"], side: int) -> Float[np.ndarray, " t"]:
    """Return how far a transformation moves the points of the image's inscribed disc on average, in pixels.

    A point at radius r moves by r |s - 1| under a scale s, and by 2 r sin(angle / 2) under a rotation; the mean radius
    is two thirds of the disc's.
    """
    mean_radius = side / 3
    if kind == "translation":
        return np.abs(values)
    if kind == "scale":
        return mean_radius * np.abs(values - 1)
    return 2 * mean_radius * np.abs(np.sin(np.deg2rad(values) / 2))


def probability_change(
    curves: Invariance, side: int, displacements: Float[np.ndarray, " m"]
) -> Float[np.ndarray, " n"]:
    """Return for each image the absolute change of the target's probability, averaged over displacements in pixels.

    Changes are interpolated linearly; values with the same displacement, such as up and down, are averaged.
    """
    displacement = mean_displacement(curves.kind, curves.values, side)
    order = np.argsort(displacement, kind="stable")
    change = (curves.probability - curves.clean_probability[:, None]).abs().numpy()
    distinct, start = np.unique(displacement[order].round(6), return_index=True)
    means = np.add.reduceat(change[:, order], start, axis=1) / np.diff(np.append(start, len(order)))
    return np.stack([np.interp(displacements, distinct, row).mean() for row in means])


def label_changes(curves: Invariance) -> float:
    """Return the share of transformed images, in percent, whose label differs from that of the original."""
    return 100 * float((curves.label != curves.clean_label[:, None]).float().mean())


def invariance_claims(
    by_kind: Mapping[str, Invariance],
    first: str,
    last: str,
    side: int,
    symmetric: Sequence[bool] | None = None,
) -> list[Claim]:
    """Decide the claims that the given transformations allow.

    Args:
        by_kind: curves of the same images by kind of transformation.
        first: name of the first layer.
        last: name of the top layer.
        side: side of the image in pixels.
        symmetric: for each image, whether its class has a rotational symmetry; None if that is unknown.
    """
    claims = []
    for kind, curves in by_kind.items() if first != last else ():
        claims.append(_small_change_claim(curves, first, last, side))
        if kind != "rotation":
            claims.append(_linearity_claim(curves, first, last))
    if "rotation" in by_kind and len(by_kind) > 1:
        claims.append(_rotation_claim(by_kind, side))
    if "rotation" in by_kind and (claim := _symmetry_claim(by_kind["rotation"], symmetric)):
        claims.append(claim)
    return claims


def _small_change_claim(curves: Invariance, first: str, last: str, side: int) -> Claim:
    """Decide claim 10: a small transformation changes the first layer more than the top layer."""
    index = small_value_index(curves, side)
    changes = {
        layer: curves.distance[layer]["raw"][:, index].numpy() / curves.pair_distance[layer]
        if curves.pair_distance[layer] > 0
        else np.zeros(0)
        for layer in (first, last)
    }
    count = min(len(values) for values in changes.values())
    gain = mean_of((changes[first] - changes[last])[:count]) if count else mean_of(np.full(1, np.nan))
    controls = {layer: f"{values.mean():.3f}" for layer, values in changes.items() if len(values)}
    about = f"{curves.kind} by {curves.values[index]:g}{UNITS[curves.kind]}"
    statistic = (
        "distance to the original divided by that of two different images, first layer minus top layer, against 0"
    )
    return Claim(10, about, statistic, gain, verdict(gain.against(0)), controls=controls)


def _linearity_claim(curves: Invariance, first: str, last: str) -> Claim:
    """Decide claim 11: a line fits the top layer's distance better than the first layer's."""
    magnitude = np.abs(curves.values - curves.identity)
    fits = {
        layer: np.array([line_r_squared(magnitude, row) for row in curves.distance[layer]["raw"].numpy()])
        for layer in (first, last)
    }
    defined = np.isfinite(fits[first]) & np.isfinite(fits[last])
    gain = mean_of((fits[last] - fits[first])[defined]) if defined.any() else mean_of(np.full(1, np.nan))
    controls = {f"R2, {layer}": f"{np.nanmean(values):.3f}" for layer, values in fits.items() if defined.any()}
    statistic = "R2 of a line through distance against magnitude, top layer minus first layer, against 0"
    return Claim(11, curves.kind, statistic, gain, verdict(gain.against(0)), controls=controls)


def _rotation_claim(by_kind: Mapping[str, Invariance], side: int) -> Claim:
    """Decide claim 12: rotation changes the output more than translation and scaling of equal displacement."""
    largest = min(mean_displacement(kind, curves.values, side).max() for kind, curves in by_kind.items())
    displacements = np.linspace(0, largest, DISPLACEMENTS + 1)[1:]
    changes = {kind: probability_change(curves, side, displacements) for kind, curves in by_kind.items()}
    gains = {kind: mean_of(changes["rotation"] - changes[kind]) for kind in by_kind if kind != "rotation"}
    smallest = min(gains.values(), key=lambda gain: gain.low)
    controls = {f"change, {kind}": f"{values.mean():.3f}" for kind, values in changes.items()}
    controls |= {f"rotation minus {kind}": str(gain) for kind, gain in gains.items()}
    controls |= {f"label changes, {kind}": f"{label_changes(curves):.1f} %" for kind, curves in by_kind.items()}
    statistic = (
        f"change of the true class's probability, mean over displacements up to {largest:.0f} px, rotation minus "
        "the larger of the others, against 0"
    )
    outcome = verdict(*(gain.against(0) for gain in gains.values()))
    return Claim(12, "", statistic, smallest, outcome, controls=controls)


def _symmetry_claim(curves: Invariance, symmetric: Sequence[bool] | None) -> Claim | None:
    """Decide claim 13: quarter turns keep the probability of classes with a rotational symmetry.

    None without the values, or unless classes with and without a symmetry are present: quarter turns lose no pixel and
    other angles do, so a peak of symmetric classes alone shows nothing.
    """
    quarter, between = (_near(curves.values, angles) for angles in ((90, 180, 270), (45, 135, 225, 315)))
    if not quarter.any() or not between.any() or symmetric is None or not any(symmetric) or all(symmetric):
        return None
    probability = curves.probability.numpy()
    peak = probability[:, quarter].mean(1) - probability[:, between].mean(1)
    mask = np.array(symmetric, bool)
    gain, own = difference(peak[mask], peak[~mask]), mean_of(peak[mask])
    statistic = (
        "probability at 90, 180 and 270 degrees minus that at 45, 135, 225 and 315, classes with a symmetry minus the "
        "others, against 0"
    )
    controls = {"classes with a symmetry": str(own), "other classes": str(mean_of(peak[~mask]))}
    paper = "0.75 to 0.85 at quarter turns (one image)"
    outcome = verdict(gain.against(0), own.against(0))
    return Claim(13, "classes with a symmetry", statistic, gain, outcome, paper=paper, controls=controls)


def _near(values: Float[np.ndarray, " t"], angles: Sequence[float]) -> Bool[np.ndarray, " t"]:
    """Return which values are within one degree of one of the angles."""
    return np.array([any(abs(value - angle) < 1 for angle in angles) for value in values])
