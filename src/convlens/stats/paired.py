"""Paired comparison of two networks on the same images (paper, Table 2 and section 5.1)."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool
from scipy.stats import binomtest
from torch import Tensor

from convlens.errors import InputError


@dataclass(frozen=True)
class PairedDifference:
    """Error of the first network minus that of the second on the same images, in percent points.

    Attributes:
        difference: the difference of the error rates.
        low: lower bound of the bootstrap interval of 95 %.
        high: its upper bound.
        p: two-sided p-value of McNemar's exact test.
    """

    difference: float
    low: float
    high: float
    p: float

    @property
    def decided(self) -> bool:
        """Whether the interval excludes zero and p < 0.05; with few images the two may disagree."""
        return self.p < 0.05 and (self.low > 0 or self.high < 0)


def paired_difference(
    first_wrong: Bool[Tensor, " n"], second_wrong: Bool[Tensor, " m"], *, resamples: int = 2000, seed: int = 0
) -> PairedDifference:
    """Compare two networks image by image.

    Args:
        first_wrong: which images the first network classifies wrongly.
        second_wrong: the same for the second network, in the same order.
        resamples: number of bootstrap samples.
        seed: seed of the bootstrap.

    Raises:
        InputError: the numbers of images differ, or there is none.
    """
    if len(first_wrong) != len(second_wrong) or len(first_wrong) == 0:
        raise InputError(
            f"{len(first_wrong)} and {len(second_wrong)} predictions: both networks must be tested on the same images"
        )
    images = len(first_wrong)
    only_first, only_second = int((first_wrong & ~second_wrong).sum()), int((second_wrong & ~first_wrong).sum())
    # A bootstrap sample matters only by its counts of images that one network alone gets wrong.
    shares = np.array([only_first, only_second, images - only_first - only_second]) / images
    drawn = np.random.default_rng(seed).multinomial(images, shares, resamples)
    low, high = np.quantile((drawn[:, 0] - drawn[:, 1]) / images, [0.025, 0.975])
    return PairedDifference(
        100 * (only_first - only_second) / images,
        100 * float(low),
        100 * float(high),
        float(binomtest(only_first, only_first + only_second).pvalue) if only_first + only_second else 1.0,
    )
