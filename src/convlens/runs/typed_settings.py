"""Settings dataclasses of tasks: build them from plain configuration values, with bounds of numbers."""

import dataclasses
import difflib
import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from convlens.errors import InputError
from convlens.runs.renames import renamed_key
from convlens.runs.type_conversion import LARGEST, MismatchError, convert, described, is_table, shown
from convlens.runs.value_bounds import Above, AtLeast, Between, Count, Matching, Pixel, Positive

__all__ = [
    "Above",
    "AtLeast",
    "Between",
    "Count",
    "Matching",
    "Pixel",
    "Positive",
    "check_number",
    "checked",
    "described",
    "from_settings",
    "missing_setting",
    "unknown_setting",
]

T = TypeVar("T")


def from_settings(declared: type[T], settings: Mapping[str, Any], where: str) -> T:
    """Build a dataclass or a TypedDict from plain values.

    Args:
        declared: its annotations say what each setting may be. A field without a default is required.
        settings: plain values by name.
        where: the settings' place in the configuration, such as ``task``, for messages.

    Raises:
        InputError: a setting is unknown, missing or of another type; the message names it and what it may be.
    """
    hints = get_type_hints(declared, include_extras=True)
    for name in settings:
        if name not in hints:
            raise unknown_setting(where, name, list(hints))
    for name in _required(declared):
        if name not in settings:
            raise missing_setting(_path(where, name), hints[name])
    return declared(**{name: checked(value, hints[name], _path(where, name)) for name, value in settings.items()})


def _required(declared: Any) -> list[str]:
    """Return the names of the settings without a default."""
    if dataclasses.is_dataclass(declared):
        return [field.name for field in dataclasses.fields(declared) if field.default is dataclasses.MISSING]
    return sorted(declared.__required_keys__)


def missing_setting(name: str, declaration: Any) -> InputError:
    """Return the error for a setting that is not there, with what it may be."""
    return InputError(f"{name} is missing: give {described(declaration)}")


def unknown_setting(where: str, name: str, names: Sequence[str]) -> InputError:
    """Return the error for a setting that does not exist, with its new name, or the nearest name and all names."""
    if renamed := renamed_key(_path(where, name), names):
        return InputError(renamed)
    near = difflib.get_close_matches(name, names, 1)
    guess = f"did you mean {_path(where, near[0])}? " if near else ""
    return InputError(f"{_path(where, name)} is no setting: {guess}there are {', '.join(names) or 'none'}")


def _path(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def checked(value: Any, declaration: Any, name: str) -> Any:
    """Convert one value; mappings become dataclasses or TypedDicts where these are declared.

    Raises:
        InputError: it does not have the declared type; the message names it, what it may be and what was given.
    """
    declared = _table_in(declaration)
    if declared is not None and isinstance(value, Mapping):
        return from_settings(declared, value, name)
    if declared is not None and get_origin(declaration) is Sequence and isinstance(value, list | tuple):
        return [checked(item, declared, f"{name}[{number}]") for number, item in enumerate(value)]
    try:
        return convert(value, declaration)
    except MismatchError:
        large = isinstance(value, int) and abs(value) > LARGEST
        limit = f", at most {LARGEST}" if large else ""
        raise InputError(f"{name}={shown(value)}: give {described(declaration)}{limit}") from None


def _table_in(declaration: Any) -> Any:
    """Return the dataclass or TypedDict that is declared, also in a sequence or a union; None if there is none."""
    if is_table(declaration):
        return declaration
    if get_origin(declaration) in (Sequence, Union, types.UnionType):
        return next((found for part in get_args(declaration) if (found := _table_in(part))), None)
    return None


def check_number(name: str, value: Any, least: int, *, optional: bool = False) -> None:
    """Check that a setting is a whole number of at least ``least``.

    Raises:
        InputError: it is not.
    """
    checked(value, Annotated[int, AtLeast(least)] | None if optional else Annotated[int, AtLeast(least)], name)
