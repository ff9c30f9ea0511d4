"""Claims 14 to 16 from diagnoses of first layers, and rank correlation with the error (paper, section 4.1)."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from convlens.analysis.diagnosis.diagnose import PERIOD, Diagnosis
from convlens.stats.claims import Claim, difference, verdict

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
    middle = difference(other.spectra.per_filter[:, 1] / 100, one.spectra.per_filter[:, 1] / 100)
    dead = difference(one.health.dead.double().cpu().numpy(), other.health.dead.double().cpu().numpy())
    return Claim(
        14,
        about,
        "share of the filters' power at middle frequencies (1/6 to 1/3 cycles per pixel), small minus large filters, "
        "above 0; and share of dead filters, large minus small filters, above 0",
        middle,
        verdict(middle.against(0), dead.against(0)),
        paper="23 of 96 filters flat at 11x11, 4 of 96 at 7x7 (counted in Fig 6)",
        controls={
            **{f"middle, {name}": f"{found.spectra.middle:.1f} %" for name, found in (coarse, fine)},
            **{f"dead filters, {name}": f"{found.health.dead_share:.1f} %" for name, found in (coarse, fine)},
            "dead filters, difference": str(dead),
        },
    )


def _aliasing_claim(coarse: tuple[str, Diagnosis], fine: tuple[str, Diagnosis], about: str) -> Claim:
    """Claim 15: the larger stride aliases in the second layer."""
    diagnoses = (coarse[1], fine[1])
    measured = [found.aliasing[PERIOD] for found in diagnoses]
    excess = difference(*(np.log(values[np.isfinite(values) & (values > 0)]) for values in measured))
    outcomes = [excess.against(0)]
    controls = {f"peak, {name}": f"{found.peak(PERIOD):.2f}" for name, found in (coarse, fine)}
    first_layers = [next(iter(found.shifts.values()), None) for found in diagnoses]
    errors = [shift.error.mean(1) for shift in first_layers if shift is not None]
    if len(errors) == 2:
        change = difference(*errors)
        controls["first layer's change under shifts, difference"] = str(change)
        outcomes.append(change.against(0))
    return Claim(
        15,
        about,
        f"log of the power at {PERIOD} px over that at neighbouring frequencies, in projections of the second layer, "
        "large minus small stride, above 0; and the change under shifts of 1 to 3 px, above 0",
        excess,
        verdict(*outcomes),
        controls=controls,
    )


def clipping_claim(without: Sequence[Diagnosis], clipped: Sequence[Diagnosis]) -> Claim:
    """Return claim 16.

    Args:
        without: diagnoses of runs without clipping of filters.
        clipped: diagnoses of runs with it.
    """
    spreads = [np.log([found.health.spread for found in group]) for group in (without, clipped)]
    gain = difference(*spreads)
    controls = {
        name: f"{np.exp(values.mean()):.2f} times the median"
        for name, values in zip(("strongest filter without", "with clipping"), spreads, strict=True)
    }
    statistic = "log of the strongest filter's RMS over the median, without minus with clipping, above 0, over runs"
    return Claim(16, "", statistic, gain, verdict(gain.against(0)), controls=controls)


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
