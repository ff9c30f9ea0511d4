"""JSON values of unknown type as text and numbers, for records that may be broken."""

import math


def text(value: object) -> str:
    """Return a JSON value as a string; null becomes empty."""
    return "" if value is None else str(value)


def real(value: object) -> float | None:
    """Return a JSON number as a float, which may be NaN; None if the value is not a number."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def named(values: object) -> str:
    """Return the values of a JSON object with their names as text; empty for anything else."""
    return "; ".join(f"{name}: {text(value)}" for name, value in values.items()) if isinstance(values, dict) else ""


def rounded(value: object) -> str:
    """Return a JSON number with two digits; empty if the value is not a finite number."""
    number = real(value)
    return "" if number is None or not math.isfinite(number) else f"{number:.2g}"
