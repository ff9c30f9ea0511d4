"""Differences of error between networks on the same images, over several seeds (paper, Table 3)."""

from collections.abc import Mapping
from math import sqrt

import numpy as np
from jaxtyping import Bool

from convlens.errors import InputError
from convlens.stats.claims import Estimate

Wrong = Mapping[int, Bool[np.ndarray, " images"]]
"""Which images a network got wrong, for each seed it was trained with."""

QUANTILES = {
    1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262, 10: 2.228, 12: 2.179,
    15: 2.131, 20: 2.086, 30: 2.042, 60: 2.000, 120: 1.980, float("inf"): 1.960,
}  # fmt: skip
"""Of Student's t, 97.5 %, by degrees of freedom."""


def contrast(terms: Mapping[str, float], wrong: Mapping[str, Wrong]) -> Estimate:
    """A weighted sum of errors, in percent points, with an interval of 95 % over the choice of images and of seeds.

    Networks are paired by image. What another seed changes is hardly known from two or three runs: its variance is
    taken to be the same for all networks given, also those that are not in the sum, and estimated from all of them
    together. Images and seeds have a half width each, by Student's t; their squares are added.

    Args:
        terms: weight of each network's error; such as {"base": -1, "ablated": 1} for a difference.
        wrong: of each network, and of others that are trained alike.

    Returns:
        The sum in percent points. Its count is that of the images; where no network has two seeds it is 1, with which
        nothing is decided, and the interval is over images alone.

    Raises:
        InputError: the networks have other numbers of images, or there is none.
    """
    sizes = {len(images) for name in terms for images in wrong[name].values()}
    if len(sizes) != 1 or 0 in sizes:
        raise InputError(f"{', '.join(terms)} were tested on {sorted(sizes)} images: nothing to pair")
    total = sum(100.0 * weight * np.mean(list(wrong[name].values()), 0) for name, weight in terms.items())
    assert isinstance(total, np.ndarray)
    images, value = len(total), float(total.mean())
    of_images = float(total.var(ddof=1)) / images if images > 1 else 0.0
    variance, freedom = of_a_seed(wrong)
    of_seeds = variance * sum(weight**2 / len(wrong[name]) for name, weight in terms.items() if weight)
    half = sqrt(quantile(images - 1) ** 2 * of_images + quantile(freedom) ** 2 * of_seeds)
    return Estimate(value, value - half, value + half, images if freedom else 1)


def of_a_seed(wrong: Mapping[str, Wrong]) -> tuple[float, int]:
    """The variance of a network's error (percent points, squared) from seed to seed, and its degrees of freedom."""
    errors = [np.array([100.0 * images.mean() for images in seeds.values()]) for seeds in wrong.values()]
    freedom = sum(len(values) - 1 for values in errors)
    squares = sum(float(((values - values.mean()) ** 2).sum()) for values in errors)
    return (squares / freedom if freedom else 0.0), freedom


def quantile(freedom: int) -> float:
    """Of Student's t, 97.5 %, between those of the table in equal steps of 1 / degrees of freedom."""
    known = sorted(QUANTILES, reverse=True)
    return float(np.interp(1 / max(freedom, 1), [1 / d for d in known], [QUANTILES[d] for d in known]))
