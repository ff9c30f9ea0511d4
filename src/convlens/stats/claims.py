"""Bootstrap intervals, the rule that turns intervals into a verdict, and a claim with its evidence."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from convlens.errors import InputError
from convlens.stats.statements import STATEMENTS

RESAMPLES = 1000
MIN_UNITS = 6
"""With fewer units nothing is decided: if all of five agree, a sign test has p = 0.06."""

SUPPORTS, REFUTES, OPEN = "supports", "refutes", "can't tell"


@dataclass(frozen=True)
class Estimate:
    """A statistic with an interval of 95 %.

    Attributes:
        value: the statistic.
        low: lower bound of the interval.
        high: upper bound of the interval.
        count: number of units, such as images, that the statistic was computed over.
    """

    value: float
    low: float
    high: float
    count: int = MIN_UNITS

    def against(self, level: float) -> str:
        """Return ``above`` or ``below`` a level; ``open`` if the interval contains it or there are too few units."""
        if self.count >= MIN_UNITS and self.low > level:
            return "above"
        return "below" if self.count >= MIN_UNITS and self.high < level else "open"

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def bootstrap(
    count: int, statistic: Callable[[Int[np.ndarray, " count"]], float], *, resamples: int = RESAMPLES, seed: int = 0
) -> Estimate:
    """Return a statistic with its percentile bootstrap interval of 95 %.

    Args:
        count: number of units.
        statistic: computes the statistic from indices of units, 0 to ``count - 1``.
        resamples: number of samples with replacement.
        seed: seed of the samples.

    Raises:
        InputError: there is no unit.
    """
    if count < 1:
        raise InputError("no units to compute a statistic of: no map is active, or no image is left")
    drawn = np.random.default_rng(seed).integers(0, count, (resamples, count))
    return interval(statistic(np.arange(count)), np.array([statistic(rows) for rows in drawn]), count)


def interval(value: float, resampled: Float[np.ndarray, " n"], count: int) -> Estimate:
    """Return a statistic of ``count`` units with the central 95 % of its resampled values."""
    # A resample may leave a statistic undefined, such as the correlation of constant values.
    low, high = np.nanquantile(resampled, [0.025, 0.975]) if np.isfinite(resampled).any() else (np.nan, np.nan)
    return Estimate(float(value), float(low), float(high), count)


def mean_of(values: Float[np.ndarray, " n"]) -> Estimate:
    """Return the mean of values with its bootstrap interval."""
    return bootstrap(len(values), lambda rows: float(values[rows].mean()))


def difference(first: Float[np.ndarray, " n"], second: Float[np.ndarray, " m"], *, seed: int = 0) -> Estimate:
    """Return the mean of the first sample minus that of the second, each resampled on its own."""
    rng = np.random.default_rng(seed)
    means = [
        values[rng.integers(0, len(values), (RESAMPLES, len(values)))].mean(1) if len(values) else np.full(1, np.nan)
        for values in (first, second)
    ]
    low, high = np.quantile(means[0] - means[1], [0.025, 0.975])
    value = float(first.mean() - second.mean()) if len(first) and len(second) else float("nan")
    return Estimate(value, float(low), float(high), min(len(first), len(second)))


def verdict(*outcomes: str) -> str:
    """Combine outcomes of `Estimate.against` to a verdict.

    Returns:
        ``supports`` if all are above their level, ``refutes`` if one is below, else ``can't tell``.
    """
    if "below" in outcomes:
        return REFUTES
    return SUPPORTS if set(outcomes) == {"above"} else OPEN


@dataclass(frozen=True)
class Claim:
    """A claim of the paper with the evidence of one experiment.

    Attributes:
        number: number of the claim in ``STATEMENTS``.
        about: the layer, network or data that the claim was tested on; may be empty.
        statistic: the statistic and the level it is compared with.
        estimate: value and interval of the statistic.
        verdict: ``supports``, ``refutes`` or ``can't tell``.
        paper: the paper's value of the statistic; empty if it gives none.
        controls: further values that put the estimate in relation, by name.
    """

    number: int
    about: str
    statistic: str
    estimate: Estimate
    verdict: str
    paper: str = ""
    controls: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.number not in STATEMENTS:
            raise ValueError(f"there is no claim {self.number}: add it to stats/statements.py")

    def __repr__(self) -> str:
        about = f", {self.about}" if self.about else ""
        return f"Claim({self.number}{about}: {self.verdict}, {self.estimate})"

    def as_json(self) -> dict[str, object]:
        """Return the claim as it is written to ``result.json``."""
        statement = STATEMENTS[self.number]
        return {
            "number": self.number,
            "claim": statement.text,
            "place": statement.place,
            "about": self.about,
            "statistic": self.statistic,
            "estimate": str(self.estimate),
            "units": self.estimate.count,
            "paper": self.paper,
            "verdict": self.verdict,
            "refuted_if": statement.refuted_if,
            "controls": self.controls,
        }
