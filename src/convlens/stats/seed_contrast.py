"""Differences of error between networks on the same images, over several seeds (paper, Table 3)."""

from collections.abc import Mapping
from math import sqrt

import numpy as np
from jaxtyping import Bool
from scipy.special import stdtrit

from convlens.errors import InputError
from convlens.stats.estimates import LEVEL, Estimate

WrongBySeed = Mapping[int, Bool[np.ndarray, " images"]]
"""For each seed that a network was trained with, which images it classified wrongly."""


def contrast(terms: Mapping[str, float], wrong: Mapping[str, WrongBySeed]) -> Estimate:
    """Return a weighted sum of error rates with an interval of 95 % over the choice of images and of seeds.

    Networks are paired by image. Two or three runs say little about the variance between seeds, so it is assumed to be
    the same for all networks given, including those that are not in the sum, and estimated from all of them together.
    Images and seeds each give a half-width, by Student's t; their squares are added.

    Args:
        terms: weight of each network's error, such as ``{"base": -1, "ablated": 1}`` for a difference.
        wrong: which images were wrong, of the networks in ``terms`` and of others that are trained alike.

    Returns:
        The sum in percent points. Its count is the smallest number of seeds of a network in the sum; if no network has
        two seeds it is 1 and the interval covers images alone.

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
    by_seed = float(stdtrit(freedom, 1 - LEVEL / 2)) if freedom else 0.0
    by_image = float(stdtrit(images - 1, 1 - LEVEL / 2)) if images > 1 else 0.0
    half_width = sqrt(by_image**2 * image_variance + by_seed**2 * sum_variance)
    seeds = min(len(wrong[name]) for name, weight in terms.items() if weight) if freedom else 1
    # Squared half-widths are added, so the standard error is that of Student's t with the degrees of the seeds.
    error, deviation = (half_width / (by_seed or by_image) if half_width else 0.0), sqrt(variance)
    return Estimate(value, value - half_width, value + half_width, seeds, error, deviation, freedom or images - 1)


def seed_variance(wrong: Mapping[str, WrongBySeed]) -> tuple[float, int]:
    """Return the variance of a network's error between seeds (percent points squared) and its degrees of freedom."""
    errors = [np.array([100.0 * images.mean() for images in seeds.values()]) for seeds in wrong.values()]
    freedom = sum(len(values) - 1 for values in errors)
    squares = sum(float(((values - values.mean()) ** 2).sum()) for values in errors)
    return (squares / freedom if freedom else 0.0), freedom
