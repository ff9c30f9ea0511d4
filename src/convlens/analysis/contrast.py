"""Differences of error between networks on the same images, over several seeds (paper, Table 3)."""

from collections.abc import Mapping
from math import sqrt

import numpy as np
from jaxtyping import Bool

from convlens.analysis.claims import Estimate
from convlens.errors import InputError

Wrong = Mapping[int, Bool[np.ndarray, " images"]]
"""Which images a network got wrong, for each seed it was trained with."""

QUANTILES = {
    1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262, 10: 2.228, 12: 2.179,
    15: 2.131, 20: 2.086, 30: 2.042, 60: 2.000, 120: 1.980, float("inf"): 1.960,
}  # fmt: skip
"""Of Student's t, 97.5 %, by degrees of freedom."""


def contrast(terms: Mapping[str, float], wrong: Mapping[str, Wrong]) -> Estimate:
    """A weighted sum of errors, in percent points, with an interval of 95 % over the choice of images and of seeds.

    Networks are paired by image and by the seeds that all of them have. Images and seeds each vary the sum, and each
    has its own half width by Student's t, since the spread of few seeds is hardly known; their squares are added. Of
    one seed the interval is over images alone.

    Args:
        terms: weight of each network's error; such as {"base": -1, "ablated": 1} for a difference.
        wrong: of each network.

    Returns:
        The sum in percent points. Its count is that of the images; of one seed it is 1, with which nothing is decided.

    Raises:
        InputError: the networks have no seed in common or other numbers of images, or there is none.
    """
    seeds = shared_seeds(terms, wrong)
    sizes = {len(wrong[name][seed]) for name in terms for seed in seeds}
    if not seeds or len(sizes) != 1 or 0 in sizes:
        raise InputError(f"{', '.join(terms)} share the seeds {seeds} and have {sorted(sizes)} images: nothing to pair")
    total = np.array([sum(100.0 * w * wrong[name][seed].astype(float) for name, w in terms.items()) for seed in seeds])
    images, value = total.shape[1], float(total.mean())
    of_images = float(total.mean(0).var(ddof=1)) / images if images > 1 else 0.0
    of_seeds = float(total.mean(1).var(ddof=1)) / len(seeds) if len(seeds) > 1 else 0.0
    half = sqrt(quantile(images - 1) ** 2 * of_images + quantile(len(seeds) - 1) ** 2 * of_seeds)
    return Estimate(value, value - half, value + half, images if len(seeds) > 1 else 1)


def shared_seeds(terms: Mapping[str, float], wrong: Mapping[str, Wrong]) -> list[int]:
    """The seeds that all networks of a sum were trained with."""
    return sorted(set.intersection(*(set(wrong[name]) for name in terms)))


def quantile(freedom: int) -> float:
    """Of Student's t, 97.5 %, between those of the table in equal steps of 1 / degrees of freedom."""
    known = sorted(QUANTILES, reverse=True)
    return float(np.interp(1 / max(freedom, 1), [1 / d for d in known], [QUANTILES[d] for d in known]))
