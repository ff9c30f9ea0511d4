"""Two ways of doing the same, timed in turn, so that what else the machine does falls on both alike."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

# Of one thread, and with memory kept instead of given back and faulted in again (glibc): what remains is the work
# itself, the same to about 2 % whatever else the machine does. Wall time on a busy machine differs by 20 %.
STEADY = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MALLOC_TRIM_THRESHOLD_": "4000000000",
    "MALLOC_MMAP_THRESHOLD_": "1000000000",
}


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


def in_a_process(module: str, *args: str) -> list[float]:
    """The numbers that the module prints as its last line, in a process of its own, with one steady thread."""
    command = [sys.executable, "-W", "ignore", "-m", module, *args]
    done = subprocess.run(command, env=os.environ | STEADY, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


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
