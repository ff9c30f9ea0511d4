"""C of the probes as it is given: a number for all, one for some by their names, or nothing."""

import math
from collections.abc import Mapping, Sequence

from convlens.errors import InputError
from convlens.transfer.probes.fit import LOSSES

C = float | Mapping[str, float] | None


def check_c(c: C) -> None:
    """Sees to it that it can be one, for each probe that it is given for.

    Raises:
        InputError: it can not, or there is no such probe.
    """
    if isinstance(c, Mapping):
        if unknown := [probe for probe in c if probe not in LOSSES]:
            raise InputError(f"task.c: there is no probe {unknown[0]!r}: choose among {', '.join(LOSSES)}")
        for number in c.values():
            check_c(number)
    elif c is not None and not 0 < c < math.inf:
        raise InputError(f"task.c={c}: give a finite number above 0, or null to search it")


def c_shown(c: C, probes: Sequence[str]) -> str:
    """What a report says of that of some probes."""
    searched = "searched on the training images, where each class has two"
    if not isinstance(c, Mapping):
        return f"C is {searched}" if c is None else f"C is {c:g}"
    said = [f"{c[probe]:g} for {probe}" for probe in probes if probe in c]
    said += [f"{searched}, for {probe}" for probe in probes if probe not in c]
    return f"C is {'; '.join(said)}"
