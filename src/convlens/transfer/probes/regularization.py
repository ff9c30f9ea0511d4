"""The setting ``C`` of the probes: a number, one per probe, or null, for which ``transfer/grid.py`` searches."""

from collections.abc import Mapping, Sequence

Regularization = float | Mapping[str, float] | None
"""C of all probes, or of some by their names; None, and for the others, searches it on the training images."""


def describe_regularization(C: Regularization, probes: Sequence[str]) -> str:
    """Return a sentence for the report on how C of the probes was chosen."""
    searched = "searched by cross-validation on the training images, where each class has two"
    if not isinstance(C, Mapping):
        return f"C is {searched}" if C is None else f"C is {C:g}"
    parts = [f"{C[probe]:g} for {probe}" for probe in probes if probe in C]
    parts += [f"{searched}, for {probe}" for probe in probes if probe not in C]
    return f"C is {'; '.join(parts)}"
