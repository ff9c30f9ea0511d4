"""A claim of the paper with the evidence of one analysis."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite, nan

from convlens.stats.estimates import Estimate
from convlens.stats.rules import RULES, Rule
from convlens.stats.statements import STATEMENTS, Statement
from convlens.stats.verdicts import Control, decide, p_of_verdict


@dataclass(frozen=True)
class Claim:
    """A claim of the paper with the evidence of one analysis.

    Attributes:
        number: number of the claim in ``STATEMENTS``.
        about: the layer, network or data that the claim was tested on; may be empty.
        estimate: value and interval of the statistic that `convlens.stats.rules.RULES` declares.
        verdict: supports, refutes, no effect, architecture or can't tell.
        p: p-value of the verdict; see `convlens.stats.verdicts.p_of_verdict`.
        paper: the paper's value of the statistic; empty if it gives none.
        control: the same statistic of a network with randomized weights; None if there was none.
        details: further values that put the estimate in relation, by name.
    """

    number: int
    about: str
    estimate: Estimate
    verdict: str
    p: float = nan
    paper: str = ""
    control: Control | None = None
    details: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.number not in STATEMENTS:
            raise ValueError(f"there is no claim {self.number}: add it to stats/statements.py and stats/rules.py")

    def __repr__(self) -> str:
        about = f", {self.about}" if self.about else ""
        return f"Claim({self.number}{about}: {self.verdict}, {self.estimate})"

    @property
    def statement(self) -> Statement:
        """The claim in words."""
        return STATEMENTS[self.number]

    @property
    def rule(self) -> Rule:
        """How the claim is decided."""
        return RULES[self.number]

    def as_json(self) -> dict[str, object]:
        """Return the claim as it is written to ``result.json``; numbers that are not known are None."""
        statement, rule, estimate = self.statement, self.rule, self.estimate
        return {
            "number": self.number,
            "claim": statement.text,
            "place": statement.place,
            "about": self.about,
            "statistic": rule.statistic,
            "estimate": str(estimate),
            "value": _finite(estimate.value),
            "low": _finite(estimate.low),
            "high": _finite(estimate.high),
            "level": rule.level,
            "unit": rule.unit,
            "units": estimate.count,
            "over": rule.over,
            "p": _finite(self.p),
            "effect_size": _finite(estimate.effect_size(rule.null)),
            "detectable": _finite(estimate.detectable),
            "paper": self.paper,
            "verdict": self.verdict,
            "refuted_if": statement.refuted_if,
            "control": self._control_json(),
            "controls": dict(self.details),
        }

    def _control_json(self) -> dict[str, str] | None:
        if self.control is None:
            return {"randomized weights": "not measured"} if self.rule.controlled else None
        return {
            "randomized weights": str(self.control.estimate),
            "trained minus randomized": str(self.control.gain),
        }


def claim(
    number: int,
    estimate: Estimate,
    *,
    about: str = "",
    required: Sequence[tuple[Estimate, float]] = (),
    control: Control | None = None,
    paper: str = "",
    details: Mapping[str, str] | None = None,
) -> Claim:
    """Decide a claim by its rule.

    Args:
        number: number of the claim.
        estimate: estimate of the rule's statistic.
        about: what it was tested on.
        required: further estimates and the levels that they must exceed, too.
        control: the same statistic with randomized weights, where training is what the claim is about.
        paper: the paper's value of the statistic.
        details: further values, by name.
    """
    verdict = decide(RULES[number], estimate, required=required, control=control)
    p = p_of_verdict(verdict, RULES[number], estimate, required=required, control=control)
    return Claim(number, about, estimate, verdict, p, paper, control, dict(details or {}))


def _finite(value: float) -> float | None:
    return float(value) if isfinite(value) else None
