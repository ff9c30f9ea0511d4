"""Checks of what is typed."""

import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Union, get_args, get_origin, get_type_hints

from convlens.errors import InputError

WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "null"}
PLURALS = {int: "whole numbers", float: "numbers", str: "names"}


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


def as_annotated(task: Callable[..., Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a task, of the types that it declares; a single value stands for a list of one.

    Raises:
        InputError: a value is of another type; the message names the setting and says what would be right.
    """
    declared = get_type_hints(task)
    found = {}
    for name, value in settings.items():
        declaration = declared.get(name, Any)
        if not is_a(value, declaration) and is_a([value], declaration):
            value = [value]
        if not is_a(value, declaration):
            raise InputError(f"task.{name}={_shown(value)}: give {described(declaration)}")
        found[name] = value
    return found


def is_a(value: Any, declaration: Any) -> bool:
    """Whether a plain value is of a declared type: unions, lists and mappings of numbers, text, truth and null."""
    kind, parts = get_origin(declaration), get_args(declaration)
    if kind in (Union, types.UnionType):
        return any(is_a(value, part) for part in parts)
    if kind in (Sequence, list):
        return isinstance(value, list) and all(is_a(item, parts[0]) for item in value)
    if kind in (Mapping, dict):
        return isinstance(value, dict) and all(is_a(key, parts[0]) and is_a(value[key], parts[1]) for key in value)
    if declaration is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if declaration is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, declaration) if declaration in WORDS else True


def described(declaration: Any) -> str:
    """What would be right, in words."""
    kind, parts = get_origin(declaration), get_args(declaration)
    if kind in (Union, types.UnionType):
        words = [described(part) for part in parts]
        return " or ".join(dict.fromkeys(words))
    if kind in (Sequence, list):
        items = get_args(parts[0]) or (parts[0],)
        return "a list of " + " or ".join(PLURALS.get(item, described(item)) for item in items)
    if kind in (Mapping, dict):
        return f"{{name: value}}, a value being {described(parts[1])}"
    return WORDS.get(declaration, str(declaration))


def _shown(value: Any) -> str:
    text = {None: "null", True: "true", False: "false"}.get(value) if not isinstance(value, list | dict) else None
    return text if text is not None else str(value).replace("'", "")
