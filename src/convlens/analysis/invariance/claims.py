"""Claims 10 to 13 about invariance, decided from the curves of several images (section 4.1, Fig 5)."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float

from convlens.analysis.invariance.curves import Invariance
from convlens.analysis.invariance.transforms import SMALL
from convlens.stats.claims import Claim, claim
from convlens.stats.estimates import difference, mean_of, mean_of_runs
from convlens.stats.verdicts import Control, paired_control

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
    control: Mapping[str, Invariance] | None = None,
) -> list[Claim]:
    """Decide the claims that the given transformations allow; the units are the images.

    Args:
        by_kind: curves of the same images by kind of transformation.
        first: name of the first layer.
        last: name of the top layer.
        side: side of the image in pixels.
        symmetric: for each image, whether its class has a rotational symmetry; None if that is unknown.
        control: the curves of a network with randomized weights, of the same images; None for none.
    """
    claims = []
    if first != last and by_kind:
        claims.append(_small_change_claim(by_kind, first, last, side, control))
        if by_kind.keys() - {"rotation"}:
            claims.append(_linearity_claim(by_kind, first, last, control))
    if "rotation" in by_kind and len(by_kind) > 1:
        claims.append(_rotation_claim(by_kind, side, control))
    if "rotation" in by_kind and (found := _symmetry_claim(by_kind["rotation"], symmetric, control)):
        claims.append(found)
    return claims


def small_changes(curves: Invariance, layer: str, side: int) -> Float[np.ndarray, " n"]:
    """Return for each image the distance of a small transformation over that of two images; NaN if that is zero."""
    scale = curves.pair_distance[layer]
    distance = curves.distance[layer]["raw"][:, small_value_index(curves, side)].numpy()
    return distance / scale if scale > 0 else np.full(len(distance), np.nan)


def line_fits(curves: Invariance, layer: str) -> Float[np.ndarray, " n"]:
    """Return for each image R squared of a line through the layer's distance against the magnitude."""
    magnitude = np.abs(curves.values - curves.identity)
    return np.array([line_r_squared(magnitude, row) for row in curves.distance[layer]["raw"].numpy()])


def _small_change_claim(
    by_kind: Mapping[str, Invariance], first: str, last: str, side: int, control: Mapping[str, Invariance] | None
) -> Claim:
    """Decide claim 10: a small transformation changes the first layer more than the top layer."""
    details = {}
    for kind, curves in by_kind.items():
        size = f"{kind} by {curves.values[small_value_index(curves, side)]:g}{UNITS[kind]}"
        for layer in (first, last):
            details[f"{layer}, {size}"] = f"{np.mean(small_changes(curves, layer, side)):.3f}"

    def gain(curves: Invariance) -> Float[np.ndarray, " n"]:
        return small_changes(curves, first, side) - small_changes(curves, last, side)

    return _mean_over_kinds_claim(10, gain, by_kind, control, f"{first} and {last}", details)


def _linearity_claim(
    by_kind: Mapping[str, Invariance], first: str, last: str, control: Mapping[str, Invariance] | None
) -> Claim:
    """Decide claim 11: a line fits the top layer's distance better than the first layer's, but for rotations."""
    by_kind = _without_rotation(by_kind)
    details = {
        f"R2, {layer}, {kind}": f"{_mean(line_fits(curves, layer)):.3f}"
        for kind, curves in by_kind.items()
        for layer in (first, last)
    }

    def gain(curves: Invariance) -> Float[np.ndarray, " n"]:
        return line_fits(curves, last) - line_fits(curves, first)

    control = None if control is None else _without_rotation(control)
    return _mean_over_kinds_claim(11, gain, by_kind, control, f"{first} and {last}", details)


def _without_rotation(by_kind: Mapping[str, Invariance]) -> dict[str, Invariance]:
    return {kind: curves for kind, curves in by_kind.items() if kind != "rotation"}


def _mean_over_kinds_claim(
    number: int,
    gain: Callable[[Invariance], Float[np.ndarray, " n"]],
    by_kind: Mapping[str, Invariance],
    control: Mapping[str, Invariance] | None,
    about: str,
    details: Mapping[str, str],
) -> Claim:
    """Decide a claim by a value of each image, averaged over the kinds of transformation."""

    def gains(of_kinds: Mapping[str, Invariance]) -> Float[np.ndarray, "kinds n"]:
        return np.array([gain(curves) for curves in of_kinds.values()])

    own = gains(by_kind)
    of_kinds = {f"difference, {kind}": str(mean_of(row)) for kind, row in zip(by_kind, own, strict=True)}
    return claim(
        number,
        mean_of(own.mean(0)),
        about=about,
        control=paired_control(own.mean(0), None if control is None else gains(control).mean(0)),
        details={**details, **of_kinds},
    )


def _rotation_claim(by_kind: Mapping[str, Invariance], side: int, control: Mapping[str, Invariance] | None) -> Claim:
    """Decide claim 12: rotation changes the output more than translation and scaling of equal displacement."""
    largest = min(mean_displacement(kind, curves.values, side).max() for kind, curves in by_kind.items())
    displacements = np.linspace(0, largest, DISPLACEMENTS + 1)[1:]

    def gains(curves: Mapping[str, Invariance]) -> dict[str, Float[np.ndarray, " n"]]:
        changes = {kind: probability_change(one, side, displacements) for kind, one in curves.items()}
        return {kind: changes["rotation"] - changes[kind] for kind in changes if kind != "rotation"}

    own = gains(by_kind)
    primary, *others = own
    details = {
        f"change, {kind}": f"{probability_change(curves, side, displacements).mean():.3f}"
        for kind, curves in by_kind.items()
    }
    details |= {f"rotation minus {kind}": str(mean_of(values)) for kind, values in own.items()}
    details |= {f"label changes, {kind}": f"{label_changes(curves):.1f} %" for kind, curves in by_kind.items()}
    return claim(
        12,
        mean_of(own[primary]),
        about=f"displacements up to {largest:.0f} px",
        required=[(mean_of(own[kind]), 0.0) for kind in others],
        control=paired_control(own[primary], None if control is None else gains(control)[primary]),
        details=details,
    )


def _symmetry_claim(
    curves: Invariance, symmetric: Sequence[bool] | None, control: Mapping[str, Invariance] | None
) -> Claim | None:
    """Decide claim 13: quarter turns keep the probability of classes with a rotational symmetry.

    None without the values, or unless classes with and without a symmetry are present: quarter turns lose no pixel and
    other angles do, so a peak of symmetric classes alone shows nothing.
    """
    quarter, between = (_near(curves.values, angles) for angles in ((90, 180, 270), (45, 135, 225, 315)))
    if not quarter.any() or not between.any() or symmetric is None or not any(symmetric) or all(symmetric):
        return None

    def peaks(one: Invariance) -> Float[np.ndarray, " n"]:
        probability = one.probability.numpy()
        return np.asarray(probability[:, quarter].mean(1) - probability[:, between].mean(1))

    own, mask = peaks(curves), np.array(symmetric, bool)
    other = None if control is None else peaks(control["rotation"])
    return claim(
        13,
        difference(own[mask], own[~mask]),
        about="classes with a symmetry",
        required=[(mean_of(own[mask]), 0.0)],
        control=None
        if other is None
        else Control(difference(other[mask], other[~mask]), difference((own - other)[mask], (own - other)[~mask])),
        paper="0.75 to 0.85 at quarter turns (one image)",
        details={"classes with a symmetry": str(mean_of(own[mask])), "other classes": str(mean_of(own[~mask]))},
    )


def _mean(values: Float[np.ndarray, " n"]) -> float:
    """Return the mean of the values that are numbers; NaN if there is none."""
    return mean_of_runs(values).value


def _near(values: Float[np.ndarray, " t"], angles: Sequence[float]) -> Bool[np.ndarray, " t"]:
    """Return which values are within one degree of one of the angles."""
    return np.array([any(abs(value - angle) < 1 for angle in angles) for value in values])
