"""From estimates to a verdict: supports, refutes, no effect, architecture or can't tell."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from convlens.stats.estimates import LEVEL, Estimate, mean_of
from convlens.stats.rules import Rule

SUPPORTS, REFUTES, NO_EFFECT, ARCHITECTURE, OPEN = "supports", "refutes", "no effect", "architecture", "can't tell"


@dataclass(frozen=True)
class Control:
    """The primary statistic of a network with randomized weights, and what training adds to it.

    Attributes:
        estimate: the statistic of the randomized network.
        gain: the statistic of the trained network less that of the randomized one, over the same units.
    """

    estimate: Estimate
    gain: Estimate


def paired_control(trained: Float[np.ndarray, " n"], randomized: Float[np.ndarray, " n"] | None) -> Control | None:
    """Return the control of a mean over units of which both networks have a value; None without a control network.

    Args:
        trained: the statistic of each unit.
        randomized: the same with randomized weights; None if it was not measured.
    """
    return None if randomized is None else Control(mean_of(randomized), mean_of(trained - randomized))


def decide(
    rule: Rule,
    primary: Estimate,
    *,
    required: Sequence[tuple[Estimate, float]] = (),
    control: Control | None = None,
) -> str:
    """Return the verdict of a claim.

    Args:
        rule: the claim's rule.
        primary: estimate of the rule's statistic.
        required: further estimates and the levels they must exceed for support. *Supports* needs all of them above
            (an intersection-union test); *refutes* needs one below after Holm's correction for their number.
        control: the same statistic without training. Where it holds there as well and training adds nothing to it,
            the verdict is *architecture*.
    """
    estimates = [(primary, rule.level), *required]
    if min(estimate.count for estimate, _ in estimates) < rule.min_units:
        return OPEN
    if primary.within(rule.null, rule.smallest_effect):
        return NO_EFFECT
    if _any_below(estimates):
        return REFUTES
    if not all(estimate.against(level) == "above" for estimate, level in estimates):
        return OPEN
    if control is None or control.gain.against(0) == "above":
        return SUPPORTS
    return ARCHITECTURE if control.estimate.against(rule.level) == "above" else OPEN


def p_of_verdict(
    verdict: str,
    rule: Rule,
    primary: Estimate,
    *,
    required: Sequence[tuple[Estimate, float]] = (),
    control: Control | None = None,
) -> float:
    """Return the p-value of a verdict, with which it is read beside those of other claims.

    *Supports* and *architecture* need every one of their estimates above its level, and have the largest p-value;
    *refutes* needs one of several below, and has the smallest one times their number (Bonferroni). The other verdicts
    have that of the primary statistic. Arguments as of `decide`.
    """
    estimates = [(primary, rule.level), *required]
    if verdict == REFUTES:
        below = [estimate.p_value(level) for estimate, level in estimates if estimate.against(level) == "below"]
        return min(1.0, min(below) * len(estimates))
    if control and verdict in (SUPPORTS, ARCHITECTURE):
        estimates.append((control.gain, 0.0) if verdict == SUPPORTS else (control.estimate, rule.level))
    if verdict in (SUPPORTS, ARCHITECTURE):
        return max(estimate.p_value(level) for estimate, level in estimates)
    return primary.p_value(rule.level)


def _any_below(estimates: Sequence[tuple[Estimate, float]]) -> bool:
    """Return whether one estimate is below its level: Holm's first step, of which the smallest p-value decides."""
    below = [estimate.p_value(level) for estimate, level in estimates if estimate.against(level) == "below"]
    return bool(below) and min(below) <= LEVEL / len(estimates)
