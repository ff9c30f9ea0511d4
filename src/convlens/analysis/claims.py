"""Claims of the paper as results: a statistic, its interval and a verdict."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from convlens.errors import InputError

RESAMPLES = 1000


@dataclass(frozen=True)
class Estimate:
    """A statistic with the bounds of its bootstrap interval of 95 %."""

    value: float
    low: float
    high: float

    def against(self, level: float) -> str:
        """``above``, ``below`` or, where the interval holds the level, ``open``."""
        if self.low > level:
            return "above"
        return "below" if self.high < level else "open"

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def bootstrap(
    count: int, statistic: Callable[[Int[np.ndarray, " count"]], float], *, resamples: int = RESAMPLES, seed: int = 0
) -> Estimate:
    """A statistic of the units of those numbers, and the bounds of 95 % over resamples with replacement.

    Raises:
        InputError: there is no unit.
    """
    if count < 1:
        raise InputError("nothing to take a statistic of: there is not one map with activations above zero")
    drawn = np.random.default_rng(seed).integers(0, count, (resamples, count))
    values = [statistic(rows) for rows in drawn]
    low, high = np.quantile(values, [0.025, 0.975])
    return Estimate(float(statistic(np.arange(count))), float(low), float(high))


def mean_of(values: Float[np.ndarray, " n"]) -> Estimate:
    """The mean with its interval."""
    return bootstrap(len(values), lambda rows: float(values[rows].mean()))


def verdict(*outcomes: str) -> str:
    """``holds`` where all statistics are above their level, ``fails`` where one is below, else ``can't tell``."""
    if "below" in outcomes:
        return "fails"
    return "holds" if set(outcomes) == {"above"} else "can't tell"
