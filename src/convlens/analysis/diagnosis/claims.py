"""Claims 14 to 16 from diagnoses of first layers, and rank correlation with the error (paper, section 4.1)."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import exp, isfinite, isnan, log, nan

import numpy as np
from scipy.stats import rankdata

from convlens.analysis.diagnosis.diagnose import Diagnosis
from convlens.analysis.diagnosis.run_groups import CLIP, RunGroup, compared_clips, compared_strides, not_compared
from convlens.analysis.diagnosis.shift_error import SHIFTS
from convlens.analysis.diagnosis.spectra import filter_spectra, grid_peak
from convlens.stats.claims import Claim, claim
from convlens.stats.estimates import Estimate, difference_of_runs, mean_of_runs
from convlens.stats.rank_correlation import rank_correlation
from convlens.stats.rules import MIN_RUNS, RULES

PERMUTATIONS = 5000
Measure = Callable[[Diagnosis], float]
"""One number of a network."""


def diagnosis_claims(groups: Sequence[RunGroup]) -> list[Claim]:
    """Return the claims that groups of runs decide; the unit of all three is the training run.

    Claims 14 and 15 compare two strides (`compared_strides`), claim 16 runs of one network and recipe without and with
    clipping (`compared_clips`).
    """
    claims = []
    if strides := compared_strides(groups):
        claims += stride_claims(*strides, not_compared(groups, strides))
    if clips := compared_clips(groups):
        claims.append(_clipping_claim(*clips, not_compared(groups, clips)))
    return claims


def stride_claims(coarse: RunGroup, fine: RunGroup, others: str = "") -> list[Claim]:
    """Return claims 14 and 15.

    Args:
        coarse: runs of the network with the larger stride, and kernel.
        fine: runs of the network with the smaller ones.
        others: groups of runs that are not compared, in words.
    """
    details = {"not compared": others} if others else {}
    keys = sorted(coarse.training.keys() | fine.training.keys())
    if differ := [key for key in keys if coarse.training.get(key) != fine.training.get(key)]:
        details["trained differently in"] = ", ".join(differ)
    return [_frequency_claim(coarse, fine, details), _aliasing_claim(coarse, fine, details)]


def _frequency_claim(coarse: RunGroup, fine: RunGroup, details: dict[str, str]) -> Claim:
    """Decide claim 14: small filters hold more middle frequencies, and fewer of them are dead."""
    size = min(coarse.layer[0], fine.layer[0])

    def middle(found: Diagnosis) -> float:
        return filter_spectra(found.filters, size).middle / 100

    def dead(found: Diagnosis) -> float:
        return found.health.dead_share / 100

    shown: dict[str, tuple[Measure, str]] = {
        f"middle frequencies in {size}x{size} px": (middle, "{:.1%}"),
        "middle frequencies in whole filters": (lambda found: found.spectra.middle / 100, "{:.1%}"),
        "dead filters": (dead, "{:.1%}"),
    }
    estimate = _difference(middle, fine, coarse)
    return claim(
        14,
        estimate,
        about=_about(coarse, fine),
        required=[(_difference(dead, coarse, fine), 0.0)],
        paper="flat filters: 23 of 96 (AlexNet), 4 of 96 (ZFNet), counted in Fig 6",
        details=_means(shown, coarse, fine) | details | _would_decide(14, estimate),
    )


def _aliasing_claim(coarse: RunGroup, fine: RunGroup, details: dict[str, str]) -> Claim:
    """Decide claim 15: the larger stride aliases in the second layer.

    Both networks are measured in windows of one size at the frequency of the coarse stride, which is no multiple of
    that of the fine one. A peak in the coarse network is required, too, and more change of its first layer under the
    shifts that are exact for neither stride.
    """
    strides = (coarse.layer[1], fine.layer[1])
    window = equal_window([*coarse.found, *fine.found])

    def peak(found: Diagnosis) -> float:
        return log(grid_peak(found.projections, strides[0], other=strides[1], window=window))

    def change(found: Diagnosis) -> float:
        return shift_change(found, strides)

    estimate = _difference(peak, coarse, fine)
    required = [(mean_of_runs(np.array([peak(found) for found in coarse.found])), 0.0)]
    shown: dict[str, tuple[Measure, str]] = {
        f"peak at {strides[0]} px in windows of {window} px": (lambda found: exp(peak(found)), "{:.2f}")
    }
    if fair := fair_shifts(strides):
        if not isnan((shifts := _difference(change, coarse, fine)).value):
            required.append((shifts, 0.0))
        shown[f"first layer's change under shifts by {' or '.join(map(str, fair))} px"] = (change, "{:.1%}")
    return claim(
        15,
        estimate,
        about=_about(coarse, fine),
        required=required,
        details=_means(shown, coarse, fine) | details | _would_decide(15, estimate),
    )


def equal_window(found: Sequence[Diagnosis]) -> int:
    """Return the side in pixels of the smallest receptive field of several networks' projections; 0 without any."""
    return min((min(one.projections.shape[-2:]) for one in found if len(one.projections)), default=0)


def fair_shifts(strides: Sequence[int]) -> list[int]:
    """Return the shifts in pixels that are exact for none of the strides.

    A shift by a multiple of the stride moves the maps by whole positions: it changes nothing, by construction.
    """
    return [shift for shift in SHIFTS if all(shift % stride for stride in strides)]


def shift_change(found: Diagnosis, strides: Sequence[int]) -> float:
    """Return the first layer's mean change under the shifts that are fair to all strides, 0 to 1; NaN if unknown."""
    error = next(iter(found.shifts.values()), None)
    columns = [SHIFTS.index(shift) for shift in fair_shifts(strides)]
    if error is None or not columns or not np.isfinite(error.error[:, columns]).any():
        return nan
    return float(np.nanmean(error.error[:, columns]))


def _clipping_claim(without: RunGroup, clipped: RunGroup, others: str = "") -> Claim:
    """Decide claim 16: without clipping the strongest filter is further above the median."""

    def spread(found: Diagnosis) -> float:
        return log(found.health.spread)

    estimate = _difference(spread, without, clipped)
    details = {}
    for name, group in (("without clipping", without), ("with clipping", clipped)):
        details[f"strongest filter {name}"] = _mean("{:.2f} times the median", map(exp, map(spread, group.found)))
        details[f"test error {name}"] = _mean("{:.1f} %", (network.error for network in group.networks))
    counts = f"{len(without.networks)} without clipping, {len(clipped.networks)} clipped at {clipped.settings[CLIP]}"
    return claim(
        16,
        estimate,
        about=f"{without.label}: {counts}",
        details=details | ({"not compared": others} if others else {}) | _would_decide(16, estimate),
    )


def _about(coarse: RunGroup, fine: RunGroup) -> str:
    return f"{fine.counted} against {coarse.counted}"


def _difference(measure: Measure, first: RunGroup, second: RunGroup) -> Estimate:
    """Return the mean of a measure over the runs of the first group minus that over the second."""
    return difference_of_runs(*(np.array([measure(found) for found in group.found]) for group in (first, second)))


def _means(shown: Mapping[str, tuple[Measure, str]], *groups: RunGroup) -> dict[str, str]:
    """Return means over runs of several measures for each group, and with randomized weights."""
    found = {}
    for name, (measure, form) in shown.items():
        for group in groups:
            text = _mean(form, map(measure, group.found))
            if group.controls:
                text += f"; randomized weights {_mean(form, map(measure, group.controls))}"
            found[f"{name}, {group.label}"] = text
    return found


def _mean(form: str, values: Iterable[float]) -> str:
    """Return the mean of the values that are known in a format, or ``unknown``."""
    known = [value for value in values if isfinite(value)]
    return form.format(np.mean(known)) if known else "unknown"


def _would_decide(number: int, estimate: Estimate) -> dict[str, str]:
    """Return the command that gives enough runs, where there are too few."""
    return {"three runs a side would decide": RULES[number].command} if estimate.count < MIN_RUNS else {}


def permutation_test(values: Sequence[float], errors: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """Return Spearman's correlation of a measure with the error over networks, and a two-sided permutation p-value.

    Both are NaN for fewer than three networks, or if all values or all errors are equal.
    """
    first, second = (rankdata(column) for column in (values, errors))
    if len(first) < 3 or first.std() == 0 or second.std() == 0:
        return nan, nan
    correlation = rank_correlation(first, second)
    first, second = ((ranks - ranks.mean()) / ranks.std() for ranks in (first, second))
    permuted = np.random.default_rng(seed).permuted(np.tile(first, (PERMUTATIONS, 1)), axis=1) @ second / len(second)
    return correlation, float((1 + (np.abs(permuted) >= abs(correlation) - 1e-12).sum()) / (1 + PERMUTATIONS))
