"""Spearman's rank correlation with an interval over units."""

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata

from convlens.stats.estimates import Estimate, statistic_of


def rank_correlation(first: Float[np.ndarray, " n"], second: Float[np.ndarray, " n"]) -> float:
    """Return Spearman's rank correlation, with mean ranks for equal values; 0 where one of the two is constant."""
    ranks = np.stack([rankdata(first), rankdata(second)])
    centred = ranks - ranks.mean(1, keepdims=True)
    norm = np.sqrt((centred**2).sum(1).prod())
    return float(centred[0] @ centred[1] / norm) if norm > 0 else 0.0


def rank_correlation_of(first: Float[np.ndarray, " n"], second: Float[np.ndarray, " n"]) -> Estimate:
    """Return Spearman's rank correlation with its interval (see `statistic_of`).

    Args:
        first: one value for each unit.
        second: another value for each unit.

    Raises:
        InputError: there is no unit.
    """
    return statistic_of(len(first), lambda units: rank_correlation(first[units], second[units]))
