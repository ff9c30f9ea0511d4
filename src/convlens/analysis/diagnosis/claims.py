"""Claims 14 to 16 from diagnoses of first layers, and rank correlation with the error (paper, section 4.1)."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from convlens.analysis.diagnosis.diagnose import PERIOD, Diagnosis
from convlens.stats.claims import Claim, claim
from convlens.stats.estimates import difference_of_runs

PERMUTATIONS = 5000


def diagnosis_claims(coarse: tuple[str, Diagnosis], fine: tuple[str, Diagnosis]) -> list[Claim]:
    """Return claims 14 and 15.

    Args:
        coarse: name and diagnosis of the network with the larger stride.
        fine: name and diagnosis of the network with the smaller stride.
    """
    about = f"{fine[0]} against {coarse[0]}"
    return [_frequency_claim(coarse, fine, about), _aliasing_claim(coarse, fine, about)]


def _frequency_claim(coarse: tuple[str, Diagnosis], fine: tuple[str, Diagnosis], about: str) -> Claim:
    """Claim 14: small filters hold more middle frequencies, and fewer of them are dead."""
    one, other = coarse[1], fine[1]
    middle = difference_of_runs(np.array([other.spectra.middle / 100]), np.array([one.spectra.middle / 100]))
    return claim(14, middle, about=about)


def _aliasing_claim(coarse: tuple[str, Diagnosis], fine: tuple[str, Diagnosis], about: str) -> Claim:
    """Claim 15: the larger stride aliases in the second layer."""
    excess = difference_of_runs(*(np.array([np.log(found.peak(PERIOD))]) for found in (coarse[1], fine[1])))
    return claim(15, excess, about=about)


def clipping_claim(without: Sequence[Diagnosis], clipped: Sequence[Diagnosis]) -> Claim:
    """Return claim 16.

    Args:
        without: diagnoses of runs without clipping of filters.
        clipped: diagnoses of runs with it.
    """
    spreads = [np.log([found.health.spread for found in group]) for group in (without, clipped)]
    details = {
        name: f"{np.exp(values.mean()):.2f} times the median"
        for name, values in zip(("strongest filter without", "with clipping"), spreads, strict=True)
    }
    return claim(16, difference_of_runs(*spreads), details=details)


def rank_correlation(values: Sequence[float], errors: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """Return Spearman's correlation of a measure with the error over networks, and a two-sided permutation p-value.

    Both are NaN for fewer than three networks, or if all values or all errors are equal.
    """
    first, second = (_ranks(np.asarray(column, float)) for column in (values, errors))
    if len(first) < 3 or first.std() == 0 or second.std() == 0:
        return float("nan"), float("nan")
    correlation = float(np.corrcoef(first, second)[0, 1])
    rng = np.random.default_rng(seed)
    permuted = [np.corrcoef(rng.permutation(first), second)[0, 1] for _ in range(PERMUTATIONS)]
    return correlation, float((1 + (np.abs(permuted) >= abs(correlation) - 1e-12).sum()) / (1 + PERMUTATIONS))


def _ranks(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Return ranks from 0; equal values share the mean of their ranks."""
    smaller = (values[None] < values[:, None]).sum(1)
    return smaller + ((values[None] == values[:, None]).sum(1) - 1) / 2
