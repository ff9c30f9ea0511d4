"""Correction of the verdicts of a report for the number of its claims (Benjamini and Hochberg 1995)."""

from collections.abc import Sequence
from math import isnan

from scipy.stats import false_discovery_control

from convlens.stats.estimates import LEVEL


def decided_together(p_values: Sequence[float | None]) -> list[bool]:
    """Return for each claim whether it stays decided; of those that do, at most 5 % are expected to be wrong.

    Args:
        p_values: of the claims' verdicts; None or NaN where none is known, which decides nothing.
    """
    tested = [number for number, p in enumerate(p_values) if p is not None and not isnan(p)]
    adjusted = false_discovery_control([p_values[number] for number in tested]) if tested else ()
    decided = {number for number, p in zip(tested, adjusted, strict=True) if p <= LEVEL}
    return [number in decided for number in range(len(p_values))]
