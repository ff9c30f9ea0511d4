"""Formatting of numbers, spreads, durations and lists of names as text."""

import math
from collections.abc import Sequence

MISSING = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
PLUS_MINUS = "\N{PLUS-MINUS SIGN}"
NARROW = "\N{NARROW NO-BREAK SPACE}"
SPACE = "\N{NO-BREAK SPACE}"


def decimals(value: int | float, digits: int = 3) -> int:
    """Return the number of decimal places that shows this many significant digits."""
    return max(0, digits - 1 - math.floor(math.log10(abs(value)))) if value and math.isfinite(value) else 0


def number(value: object, places: int | None = None) -> str:
    """Format a JSON value: numbers with three significant digits and thousands separators, None as a dash.

    Args:
        value: text is returned unchanged.
        places: decimal places of a float, instead of three significant digits.
    """
    if value is None or value == "":
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, int | float):
        return str(value)
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    if isinstance(value, int):
        shown = f"{value:,}"
    elif places is not None:
        shown = f"{value:,.{places}f}"
    elif value != 0 and not 1e-4 <= abs(value) < 1e9:
        shown = f"{value:.2e}"
    else:
        shown = f"{value:,.{decimals(value)}f}"
    return shown.replace("-", MINUS)


def spread(value: object, formatted: str) -> str:
    """Format the spread of a number.

    Args:
        value: a half-width, shown with ±, or an interval (low, high); None gives an empty string.
        formatted: the number itself as text; the spread gets as many decimal places.
    """
    places = None if "e" in formatted else len(formatted.partition(".")[2])
    if isinstance(value, list | tuple) and len(value) == 2:
        return f"[{number(value[0], _places_for(value[0], places))}, {number(value[1], _places_for(value[1], places))}]"
    if value is None or value == "":
        return ""
    return f"{PLUS_MINUS}{NARROW}{number(value, _places_for(value, places))}"


def _places_for(value: object, places: int | None) -> int | None:
    """Return the common decimal places, or None if they would show a nonzero value as zero."""
    if places is None or not isinstance(value, int | float) or not value or not math.isfinite(value):
        return places
    return places if abs(value) >= 0.5 * 10**-places else None


def column(cells: Sequence[object]) -> tuple[list[str], bool]:
    """Format a table's column; the numbers of a numeric column share their number of decimal places.

    Returns:
        The cells as text, and whether the column is numeric.
    """
    filled = [cell for cell in cells if cell is not None and cell != ""]
    numeric = bool(filled) and all(isinstance(cell, int | float) and not isinstance(cell, bool) for cell in filled)
    floats = [cell for cell in filled if isinstance(cell, float) and math.isfinite(cell) and cell]
    if not numeric or not floats:
        return [number(cell) for cell in cells], numeric
    places = decimals(max(abs(cell) for cell in floats))
    if any(_places_for(cell, places) is None for cell in floats) or places > 5:
        return [number(cell) for cell in cells], numeric
    return [number(float(cell) if isinstance(cell, int | float) else cell, places) for cell in cells], numeric


def percent(value: int | float | None) -> str:
    """Format an error in percent with one decimal place and no sign of percent."""
    return MISSING if value is None else number(float(value), 1)


def duration(seconds: int | float | None) -> str:
    """Format a time in seconds: 4.2 s, 1 min 21 s, 2 h 05 min."""
    if seconds is None or not math.isfinite(seconds):
        return MISSING
    if seconds < 59.5:
        words = [f"{seconds:.1f}" if seconds < 9.95 else f"{round(seconds)}", "s"]
    elif seconds < 3599.5:
        words = [f"{round(seconds) // 60}", "min", f"{round(seconds) % 60:02d}", "s"]
    else:
        words = [f"{round(seconds / 60) // 60:,}", "h", f"{round(seconds / 60) % 60:02d}", "min"]
    return SPACE.join(words)


def plural(count: int, noun: str) -> str:
    """Return a count with its noun: 1 part, 2 parts, 2 analyses."""
    if count == 1:
        return f"1 {noun}"
    return f"{count} {noun[:-2]}es" if noun.endswith("sis") else f"{count} {noun}s"


def listing(names: Sequence[str], most: int = 8) -> str:
    """Join names with commas and a final "and"; name only the first ``most`` and count the others."""
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
