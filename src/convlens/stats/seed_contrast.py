"""Differences of error between networks on the same images, over several seeds (paper, Table 3)."""

from collections.abc import Mapping
from math import sqrt

import numpy as np
from jaxtyping import Bool

from convlens.errors import InputError
from convlens.stats.claims import Estimate

WrongBySeed = Mapping[int, Bool[np.ndarray, " images"]]
"""For each seed that a network was trained with, which images it classified wrongly."""

QUANTILES = {
    1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262, 10: 2.228, 12: 2.179,
    15: 2.131, 20: 2.086, 30: 2.042, 60: 2.000, 120: 1.980, float("inf"): 1.960,
}  # fmt: skip
"""The 97.5 % quantile of Student's t by degrees of freedom."""


def contrast(terms: Mapping[str, float], wrong: Mapping[str, WrongBySeed]) -> Estimate:
    """Return a weighted sum of error rates with an interval of 95 % over the choice of images and of seeds.

    Networks are paired by image. Two or three runs say little about the variance between seeds, so it is assumed to be
    the same for all networks given, including those that are not in the sum, and estimated from all of them together.
    Images and seeds each give a half-width, by Student's t; their squares are added.

    Args:
        terms: weight of each network's error, such as ``{"base": -1, "ablated": 1}`` for a difference.
        wrong: which images were wrong, of the networks in ``terms`` and of others that are trained alike.

    Returns:
        The sum in percent points. Its count is the number of images; if no network has two seeds it is 1, with which
        nothing is decided, and the interval covers images alone.

    Raises:
        InputError: the networks were tested on different numbers of images, or on none.
    """
    sizes = {len(images) for name in terms for images in wrong[name].values()}
    if len(sizes) != 1 or 0 in sizes:
        raise InputError(
            f"{', '.join(terms)} were tested on {sorted(sizes)} images: give networks tested on the same images"
        )
    total = np.asarray(sum(100.0 * weight * np.mean(list(wrong[name].values()), 0) for name, weight in terms.items()))
    images, value = len(total), float(total.mean())
    image_variance = float(total.var(ddof=1)) / images if images > 1 else 0.0
    variance, freedom = seed_variance(wrong)
    sum_variance = variance * sum(weight**2 / len(wrong[name]) for name, weight in terms.items() if weight)
    half_width = sqrt(t_quantile(images - 1) ** 2 * image_variance + t_quantile(freedom) ** 2 * sum_variance)
    return Estimate(value, value - half_width, value + half_width, images if freedom else 1)


def seed_variance(wrong: Mapping[str, WrongBySeed]) -> tuple[float, int]:
    """Return the variance of a network's error between seeds (percent points squared) and its degrees of freedom."""
    errors = [np.array([100.0 * images.mean() for images in seeds.values()]) for seeds in wrong.values()]
    freedom = sum(len(values) - 1 for values in errors)
    squares = sum(float(((values - values.mean()) ** 2).sum()) for values in errors)
    return (squares / freedom if freedom else 0.0), freedom


def t_quantile(freedom: int) -> float:
    """Return the 97.5 % quantile of Student's t, interpolated linearly in 1 / degrees of freedom."""
    known = sorted(QUANTILES, reverse=True)
    return float(np.interp(1 / max(freedom, 1), [1 / d for d in known], [QUANTILES[d] for d in known]))
