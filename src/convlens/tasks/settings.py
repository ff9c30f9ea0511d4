"""Checks of what is typed."""

from typing import Any

from convlens.errors import InputError


def check_number(name: str, value: Any, least: int, *, optional: bool = False) -> None:
    """Sees to it that a setting is a whole number that is large enough.

    Raises:
        InputError: it is not.
    """
    if value is None and optional:
        return
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        or_null = ", or null" if optional else ""
        raise InputError(f"{name}={value}: give a whole number of at least {least}{or_null}")
