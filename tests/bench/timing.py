"""Two ways of doing the same, timed in turn, so that what else the machine does falls on both alike."""

import statistics
import time
from collections.abc import Callable


def seconds(work: Callable[[], object]) -> float:
    """Time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def in_turn(ours: Callable[[], object], reference: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Medians of the seconds of each, after one round to warm up; who goes first alternates."""
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds + 1):
        for which in (0, 1) if number % 2 else (1, 0):
            times[which].append(seconds((ours, reference)[which]))
    return statistics.median(times[0][1:]), statistics.median(times[1][1:])


def row(name: str, ours: float, reference: float, bound: float, note: str, *, less_is_better: bool = False) -> dict:
    """One line of the table; times in milliseconds."""
    return {
        "name": name,
        "ours": 1000 * ours,
        "reference": 1000 * reference,
        "unit": "ms",
        "ratio": ours / reference if less_is_better else reference / ours,
        "bound": bound,
        "less_is_better": less_is_better,
        "note": note,
    }
