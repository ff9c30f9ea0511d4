"""Typed settings: convert plain configuration values to what a dataclass or a function declares, or refuse them."""

import dataclasses
import difflib
import math
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from convlens.errors import InputError

T = TypeVar("T")
WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "null"}
PLURALS = {int: "whole numbers", float: "numbers", str: "names"}
BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


@dataclass(frozen=True)
class AtLeast:
    """A lower bound of a number, as in ``Annotated[int, AtLeast(1)]``."""

    minimum: float

    def allows(self, value: float) -> bool:
        """Whether the value keeps the bound."""
        return value >= self.minimum

    def __str__(self) -> str:
        return f" of at least {self.minimum:g}"


@dataclass(frozen=True)
class Between:
    """Both bounds of a number, inclusive."""

    low: float
    high: float

    def allows(self, value: float) -> bool:
        """Whether the value keeps the bounds."""
        return self.low <= value <= self.high

    def __str__(self) -> str:
        return f" from {self.low:g} to {self.high:g}"


Positive = Annotated[int, AtLeast(1)]
Count = Annotated[int, AtLeast(0)]


class MismatchError(Exception):
    """A value does not have the declared type."""


def from_settings(declared: type[T], settings: Mapping[str, Any], where: str) -> T:
    """Build a dataclass from plain values.

    Args:
        declared: a dataclass; its annotations say what each setting may be.
        settings: plain values by name.
        where: the settings' place in the configuration, such as ``task``, for messages.

    Raises:
        InputError: a setting is unknown, missing or of another type; the message names it and what it may be.
    """
    hints = get_type_hints(declared, include_extras=True)
    names = [field.name for field in dataclasses.fields(declared)]  # type: ignore[arg-type]
    for name in settings:
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            guess = f"did you mean {where}.{near[0]}? " if near else ""
            raise InputError(f"{where}.{name} is no setting: {guess}there are {', '.join(names) or 'none'}")
    if missing := [name for name in names if name not in settings]:
        raise InputError(f"{where}.{missing[0]} is missing: give {described(hints[missing[0]])}")
    return declared(**{name: checked(settings[name], hints[name], f"{where}.{name}") for name in names})


def as_annotated(task: Callable[..., Any], settings: Mapping[str, Any], where: str = "task") -> dict[str, Any]:
    """Convert the keywords of a function or class to the types that it declares.

    Raises:
        InputError: a value is of another type; the message names the setting and says what it may be.
    """
    hints = get_type_hints(task, include_extras=True)
    return {name: checked(value, hints.get(name, Any), f"{where}.{name}") for name, value in settings.items()}


def checked(value: Any, declaration: Any, name: str) -> Any:
    """Convert one value.

    Raises:
        InputError: it does not have the declared type; the message names it, what it may be and what was given.
    """
    if dataclasses.is_dataclass(declaration) and isinstance(declaration, type):
        if not isinstance(value, Mapping):
            raise InputError(f"{name}={shown(value)}: give {described(declaration)}")
        return from_settings(declaration, value, name)
    try:
        return convert(value, declaration)
    except MismatchError:
        raise InputError(f"{name}={shown(value)}: give {described(declaration)}") from None


def convert(value: Any, declaration: Any) -> Any:
    """Convert a plain value to a declared type; a single value stands for a list of one.

    Raises:
        MismatchError: it cannot be converted.
    """
    kind, parts = get_origin(declaration), get_args(declaration)
    if kind in (Union, types.UnionType):
        return _convert_union(value, parts)
    if kind is Annotated:
        found = convert(value, parts[0])
        if found is not None and not all(bound.allows(found) for bound in parts[1:]):
            raise MismatchError
        return found
    if kind is Literal:
        if value in parts and not isinstance(value, bool):
            return value
        raise MismatchError
    if kind in (Sequence, list, tuple):
        items = list(value) if isinstance(value, list | tuple) else [value]
        return [convert(item, parts[0]) for item in items]
    if kind in (Mapping, dict):
        if not isinstance(value, Mapping):
            raise MismatchError
        return {convert(key, parts[0]): convert(item, parts[1]) for key, item in value.items()}
    return _convert_scalar(value, declaration)


def _convert_union(value: Any, parts: Sequence[Any]) -> Any:
    """The member whose type the value has already, else the first that it can be converted to."""
    if value is None and type(None) in parts:
        return None
    exact = [part for part in parts if _plain_type(part) is type(value)]
    lists = [part for part in parts if get_origin(part) in (Sequence, list, tuple)]
    first = lists if isinstance(value, list | tuple) else exact
    for part in [*first, *(part for part in parts if part not in first)]:
        try:
            return convert(value, part)
        except MismatchError:
            continue
    raise MismatchError


def _plain_type(declaration: Any) -> Any:
    kind, parts = get_origin(declaration), get_args(declaration)
    if kind is Annotated:
        return _plain_type(parts[0])
    return type(parts[0]) if kind is Literal else kind or declaration


def _convert_scalar(value: Any, declaration: Any) -> Any:
    if declaration is bool:
        if str(value).lower() in BOOLEANS and isinstance(value, bool | int | str):
            return BOOLEANS[str(value).lower()]
        raise MismatchError
    if declaration is float and isinstance(value, int | float) and not isinstance(value, bool):
        if math.isfinite(value):
            return float(value) if isinstance(value, float) else value
        raise MismatchError
    if declaration is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if declaration is str and isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value)  # a folder may be called 2012
    if declaration is type(None) and value is None:
        return None
    if declaration in WORDS:
        raise MismatchError
    return value


def described(declaration: Any) -> str:
    """Return in words what a declared type takes."""
    kind, parts = get_origin(declaration), get_args(declaration)
    if kind in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(described(part) for part in parts))
    if kind is Annotated:
        return described(parts[0]) + "".join(str(bound) for bound in parts[1:])
    if kind is Literal:
        return " or ".join(str(part) for part in parts)
    if kind in (Sequence, list, tuple):
        items = get_args(parts[0]) if get_origin(parts[0]) in (Union, types.UnionType) else (parts[0],)
        return "a list of " + " or ".join(PLURALS.get(item, described(item)) for item in items)
    if kind in (Mapping, dict):
        return f"{{name: value}}, a value being {described(parts[1])}"
    if dataclasses.is_dataclass(declaration):
        return "values for " + ", ".join(field.name for field in dataclasses.fields(declaration))
    return WORDS.get(declaration, str(declaration))


def shown(value: Any) -> str:
    """Return a value as it is typed on the command line."""
    text = {None: "null", True: "true", False: "false"}.get(value) if isinstance(value, bool | None) else None
    return text if text is not None else str(value).replace("'", "")


def check_number(name: str, value: Any, least: int, *, optional: bool = False) -> None:
    """Check that a setting is a whole number of at least ``least``.

    Raises:
        InputError: it is not.
    """
    checked(value, Annotated[int, AtLeast(least)] | None if optional else Annotated[int, AtLeast(least)], name)
