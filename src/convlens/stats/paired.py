"""Which of two networks is better on the same images (paper, Table 2 and claim of section 5.1)."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool
from torch import Tensor

from convlens.errors import InputError


@dataclass(frozen=True)
class PairedDifference:
    """Error of the first minus error of the second on the same images, in percent points.

    ``low`` and ``high`` bound the bootstrap interval of 95 %; ``p`` is McNemar's exact two-sided probability of a
    split as uneven as the one seen if both were equally good.
    """

    difference: float
    low: float
    high: float
    p: float

    @property
    def decided(self) -> bool:
        """Whether the interval leaves zero out and so uneven a split is rarer than 5 %; with few images one may not."""
        return self.p < 0.05 and (self.low > 0 or self.high < 0)


def paired_difference(
    first_wrong: Bool[Tensor, " n"], second_wrong: Bool[Tensor, " m"], *, resamples: int = 2000, seed: int = 0
) -> PairedDifference:
    """Compare two networks image by image.

    Raises:
        InputError: not the same number of images, or none.
    """
    if len(first_wrong) != len(second_wrong) or len(first_wrong) == 0:
        raise InputError(
            f"{len(first_wrong)} and {len(second_wrong)} predictions: both networks must be tested on the same images"
        )
    images = len(first_wrong)
    only_first, only_second = int((first_wrong & ~second_wrong).sum()), int((second_wrong & ~first_wrong).sum())
    # Images drawn with replacement differ only in how many of the two kinds there are among them.
    shares = np.array([only_first, only_second, images - only_first - only_second]) / images
    drawn = np.random.default_rng(seed).multinomial(images, shares, resamples)
    low, high = np.quantile((drawn[:, 0] - drawn[:, 1]) / images, [0.025, 0.975])
    return PairedDifference(
        100 * (only_first - only_second) / images,
        100 * float(low),
        100 * float(high),
        sign_test(min(only_first, only_second), only_first + only_second),
    )


def sign_test(fewer: int, total: int) -> float:
    """Two-sided probability that of ``total`` fair coins at most ``fewer`` fall on the rarer side."""
    tail = sum(
        math.exp(math.lgamma(total + 1) - math.lgamma(i + 1) - math.lgamma(total - i + 1) - total * math.log(2))
        for i in range(fewer + 1)
    )
    return min(1.0, 2 * tail)
