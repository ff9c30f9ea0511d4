"""What transformations of the image say of the paper's claims 10 to 13."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float

from convlens.analysis.invariance.curves import Invariance
from convlens.analysis.invariance.transforms import SMALL
from convlens.stats.claims import Claim, difference, mean_of, verdict


def small_amount(found: Invariance, side: int) -> int:
    """The place of the amount that is nearest to a small one, but not nothing."""
    wanted = SMALL[found.kind] * side if found.kind == "translation" else SMALL[found.kind]
    away = np.abs(found.values - wanted)
    away[found.values == found.identity] = np.inf
    return int(away.argmin())


def fit_of_a_line(amount: Float[np.ndarray, " t"], distance: Float[np.ndarray, " t"]) -> float:
    """R squared of the best line; NaN where the distance never changes."""
    spread = distance - distance.mean()
    if not (spread**2).sum() > 0:
        return float("nan")
    slope, intercept = np.polyfit(amount, distance, 1)
    return float(1 - ((distance - slope * amount - intercept) ** 2).sum() / (spread**2).sum())


def displacement(kind: str, values: Float[np.ndarray, " t"], side: int) -> Float[np.ndarray, " t"]:
    """How far, on the average over the disc in the image, the transformation moves what is seen, in pixels.

    A point at radius r moves by r |s - 1| if it is enlarged, and by 2 r sin(angle / 2) if it is turned; the mean
    radius of a disc is two thirds of its own.
    """
    mean_radius = side / 3
    if kind == "translation":
        return np.abs(values)
    if kind == "scale":
        return mean_radius * np.abs(values - 1)
    return 2 * mean_radius * np.abs(np.sin(np.deg2rad(values) / 2))


def change_of_output(found: Invariance, side: int, moved: Float[np.ndarray, " m"]) -> Float[np.ndarray, " n"]:
    """For each image, how much the target's probability changes, on the average over these displacements."""
    away = displacement(found.kind, found.values, side)
    order = np.argsort(away, kind="stable")
    change = (found.probability - found.clean_probability[:, None]).abs().numpy()
    # Amounts that move alike, such as up and down, count as one.
    kept, start = np.unique(away[order].round(6), return_index=True)
    means = np.add.reduceat(change[:, order], start, axis=1) / np.diff(np.append(start, len(order)))
    return np.stack([np.interp(moved, kept, row).mean() for row in means])


def invariance_claims(
    found: Mapping[str, Invariance], first: str, last: str, side: int, symmetric: Sequence[bool] | None = None
) -> list[Claim]:
    """The claims that the transformations at hand can decide.

    Args:
        found: by kind, over the same images.
        first: the first layer.
        last: the top layer.
        side: of the image, in pixels.
        symmetric: for each image, whether its class has a rotational symmetry; None if that is not known.
    """
    claims = []
    for kind, one in found.items() if first != last else ():
        claims.append(_ten(one, first, last, side))
        if kind != "rotation":
            claims.append(_eleven(one, first, last))
    if "rotation" in found and len(found) > 1:
        claims.append(_twelve(found, side))
    if "rotation" in found and (turns := _thirteen(found["rotation"], symmetric)):
        claims.append(turns)
    return claims


def _ten(one: Invariance, first: str, last: str, side: int) -> Claim:
    place = small_amount(one, side)
    changes = {
        layer: one.distance[layer]["raw"][:, place].numpy() / one.apart[layer] if one.apart[layer] > 0 else np.zeros(0)
        for layer in (first, last)
    }
    both = min(len(values) for values in changes.values())
    gain = mean_of((changes[first] - changes[last])[:both]) if both else mean_of(np.full(1, np.nan))
    unit = {"translation": " px", "scale": " times", "rotation": " degrees"}[one.kind]
    means = {layer: f"{values.mean():.3f}" for layer, values in changes.items() if len(values)}
    about = f"{one.kind} by {one.values[place]:g}{unit}"
    statistic = "distance to the original over that of two different images, first layer less top layer, against 0"
    return Claim(10, about, statistic, gain, verdict(gain.against(0)), controls=means)


def _eleven(one: Invariance, first: str, last: str) -> Claim:
    amount = np.abs(one.values - one.identity)
    fits = {
        layer: np.array([fit_of_a_line(amount, row) for row in one.distance[layer]["raw"].numpy()])
        for layer in (first, last)
    }
    known = np.isfinite(fits[first]) & np.isfinite(fits[last])
    gain = mean_of((fits[last] - fits[first])[known]) if known.any() else mean_of(np.full(1, np.nan))
    means = {f"R2, {layer}": f"{np.nanmean(values):.3f}" for layer, values in fits.items() if known.any()}
    statistic = "R2 of a line through the distance against the amount, top layer less first layer, against 0"
    return Claim(11, one.kind, statistic, gain, verdict(gain.against(0)), controls=means)


def _twelve(found: Mapping[str, Invariance], side: int) -> Claim:
    furthest = min(displacement(kind, one.values, side).max() for kind, one in found.items())
    moved = np.linspace(0, furthest, 33)[1:]
    changes = {kind: change_of_output(one, side, moved) for kind, one in found.items()}
    others = [kind for kind in found if kind != "rotation"]
    gains = {kind: mean_of(changes["rotation"] - changes[kind]) for kind in others}
    weakest = min(gains.values(), key=lambda gain: gain.low)
    controls = {f"change, {kind}": f"{values.mean():.3f}" for kind, values in changes.items()}
    controls |= {f"rotation less {kind}": str(gain) for kind, gain in gains.items()}
    controls |= {f"other top class, {kind}": f"{flips(one):.1f} %" for kind, one in found.items()}
    statistic = (
        f"change of the true class's probability, mean over displacements up to {furthest:.0f} px, rotation less "
        "the nearer of the others, against 0"
    )
    return Claim(12, "", statistic, weakest, verdict(*(gain.against(0) for gain in gains.values())), controls=controls)


def flips(one: Invariance) -> float:
    """Share of the transformed images whose top class is another than the original's, in percent."""
    return 100 * float((one.label != one.clean_label[:, None]).float().mean())


def _thirteen(one: Invariance, symmetric: Sequence[bool] | None) -> Claim | None:
    """Quarter turns against those between them."""
    quarter, between = (_near(one.values, angles) for angles in ((90, 180, 270), (45, 135, 225, 315)))
    if not quarter.any() or not between.any():
        return None
    probability = one.probability.numpy()
    peak = probability[:, quarter].mean(1) - probability[:, between].mean(1)
    if symmetric is None or not any(symmetric) or all(symmetric):
        return None  # quarter turns lose no pixel, others do: without other classes nothing follows from a peak
    chosen = np.array(symmetric, bool)
    gain, own = difference(peak[chosen], peak[~chosen]), mean_of(peak[chosen])
    statistic = (
        "probability at 90, 180 and 270 degrees less that at 45, 135, 225 and 315, classes with a symmetry less the "
        "others, against 0"
    )
    controls = {"classes with a symmetry": str(own), "other classes": str(mean_of(peak[~chosen]))}
    paper = "0.75 to 0.85 at quarter turns (one image)"
    outcome = verdict(gain.against(0), own.against(0))
    return Claim(13, "classes with a symmetry", statistic, gain, outcome, paper=paper, controls=controls)


def _near(values: Float[np.ndarray, " t"], angles: Sequence[float]) -> Bool[np.ndarray, " t"]:
    return np.array([any(abs(value - angle) < 1 for angle in angles) for value in values])
