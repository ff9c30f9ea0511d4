"""Differences of error between networks on the same images, over several seeds (paper, Table 3)."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float

from convlens.analysis.claims import RESAMPLES, Estimate, interval
from convlens.errors import InputError

Wrong = Bool[np.ndarray, "seeds images"]
"""Which images a network got wrong, a row for each seed it was trained with."""


def contrast(terms: Mapping[str, float], wrong: Mapping[str, Wrong], *, resamples: int = RESAMPLES) -> Estimate:
    """A weighted sum of errors, in percent points, with an interval over the choice of images and of seeds.

    All networks are paired by seed and by image. Both are drawn with replacement, independently (Owen 2007); as few
    seeds drawn that way vary too little, by a factor of (s - 1) / s, their deviations are widened by its root.

    Args:
        terms: weight of each network's error; such as {"base": -1, "ablated": 1} for a difference.
        wrong: of each network.
        resamples: for the interval.

    Returns:
        The sum in percent points; its count is that of the images.

    Raises:
        InputError: the networks have different seeds or images, or there is none.
    """
    shapes = {wrong[name].shape for name in terms}
    if len(shapes) != 1 or 0 in next(iter(shapes)):
        raise InputError(f"seeds and images of {', '.join(terms)} are {sorted(shapes)}: they must be the same")
    total = sum(100.0 * weight * wrong[name].astype(float) for name, weight in terms.items())
    assert isinstance(total, np.ndarray)
    images = total.shape[1]
    rng = np.random.default_rng(0)
    drawn = np.empty(resamples)
    for number in range(resamples):
        weights = np.bincount(rng.integers(0, images, images), minlength=images) / images
        drawn[number] = _of_seeds(total @ weights, rng)
    return interval(total.mean(), drawn, images)


def _of_seeds(values: Float[np.ndarray, " seeds"], rng: np.random.Generator) -> float:
    """The mean of seeds drawn with replacement, its deviation widened."""
    count = len(values)
    deviation = values[rng.integers(0, count, count)].mean() - values.mean()
    return float(values.mean() + deviation * (count / (count - 1)) ** 0.5) if count > 1 else float(values.mean())
