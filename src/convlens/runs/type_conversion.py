"""Conversion of plain configuration values to declared Python types, with a description of what each type takes."""

import collections.abc
import dataclasses
import inspect
import math
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints, is_typeddict

WORDS = {
    int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "null", Path: "text",
    dict: "{name: value}", list: "a list", tuple: "a list",
}  # fmt: skip
PLURALS = {int: "whole numbers", float: "numbers", str: "names"}
BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
SEQUENCES = (Sequence, list, tuple, Iterable, collections.abc.Collection)
MAPPINGS = (Mapping, dict)

LARGEST = 2**32 - 1
"""The largest whole number of any setting, the greatest seed."""


class MismatchError(Exception):
    """A value does not have the declared type."""


def is_node(value: object) -> bool:
    """Return whether a value is a node that Hydra instantiates: a mapping with a ``_target_``."""
    return isinstance(value, Mapping) and "_target_" in value


def is_table(declaration: object) -> bool:
    """Return whether a type declares settings by name: a dataclass or a TypedDict."""
    return inspect.isclass(declaration) and (dataclasses.is_dataclass(declaration) or is_typeddict(declaration))


def convert(value: Any, declaration: Any) -> Any:
    """Convert a plain value to a declared type; a single value stands for a list of one.

    Raises:
        MismatchError: it cannot be converted.
    """
    kind, parts = get_origin(declaration), get_args(declaration)
    if declaration in (Any, object) or isinstance(declaration, TypeVar):
        return value
    if kind in (Union, types.UnionType):
        return _convert_union(value, parts)
    if kind is Annotated:
        found = convert(value, parts[0])
        if found is not None and not all(bound.allows(found) for bound in parts[1:]):
            raise MismatchError
        return found
    if kind is Literal:
        return _convert_literal(value, parts)
    if kind in SEQUENCES and parts:
        return _convert_sequence(value, kind, parts)
    if kind in MAPPINGS and parts:
        if not isinstance(value, Mapping):
            raise MismatchError
        return {convert(key, parts[0]): convert(item, parts[1]) for key, item in value.items()}
    return _convert_plain(value, declaration)


def _convert_literal(value: Any, choices: Sequence[Any]) -> Any:
    for choice in choices:
        if choice == value and isinstance(choice, bool) == isinstance(value, bool):
            return choice
    raise MismatchError


def _convert_sequence(value: Any, kind: Any, parts: Sequence[Any]) -> list[Any]:
    if isinstance(value, Mapping):
        raise MismatchError
    items = list(value) if isinstance(value, list | tuple) else [value]
    if kind is tuple and Ellipsis not in parts:
        if len(items) != len(parts):
            raise MismatchError
        return [convert(item, part) for item, part in zip(items, parts, strict=True)]
    return [convert(item, parts[0]) for item in items]


def _convert_union(value: Any, parts: Sequence[Any]) -> Any:
    """Convert to the member whose type the value has already, else to the first that takes it."""
    if value is None and type(None) in parts:
        return None
    exact = [part for part in parts if _plain_type(part) is type(value)]
    if type(value) is int and not exact:
        exact = [part for part in parts if _plain_type(part) is float]  # rather than text
    lists = [part for part in parts if get_origin(part) in SEQUENCES]
    first = lists if isinstance(value, list | tuple) else exact
    others = [part for part in parts if part not in first and not (exact and part in lists)]
    for part in [*first, *others]:
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


def _convert_plain(value: Any, declaration: Any) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if declaration is bool and isinstance(value, bool | int | str) and str(value).lower() in BOOLEANS:
        return BOOLEANS[str(value).lower()]
    if declaration is int and number and isinstance(value, int) and abs(value) <= LARGEST:
        return value
    if declaration is float and number and math.isfinite(value):
        return value
    if declaration in (str, Path) and (number or isinstance(value, str)):
        return str(value)  # a folder may be called 2012
    if declaration in (type(None), None) and value is None:
        return None
    if declaration in (list, tuple, *SEQUENCES) and isinstance(value, list | tuple):
        return list(value)
    if declaration in MAPPINGS and isinstance(value, Mapping):
        return dict(value)
    if declaration not in WORDS and is_node(value):
        return value
    raise MismatchError


def described(declaration: Any) -> str:
    """Return in words what a declared type takes."""
    kind, parts = get_origin(declaration), get_args(declaration)
    if kind in (Union, types.UnionType):
        return " or ".join(
            dict.fromkeys(described(part) for part in parts if getattr(part, "__name__", "") != "Tensor")
        )
    if kind is Annotated:
        return described(parts[0]) + "".join(str(bound) for bound in parts[1:])
    if kind is Literal:
        return " or ".join(str(part) for part in parts)
    if kind in SEQUENCES and parts:
        return _described_list(kind, parts)
    if kind in MAPPINGS and parts:
        name = described(parts[0]) if get_origin(parts[0]) is Literal else "name"
        return f"{{{name}: value}}, a value being {described(parts[1])}"
    if is_table(declaration):
        return "values for " + ", ".join(get_type_hints(declaration))
    if declaration in WORDS:
        return WORDS[declaration]
    called = kind is Callable or declaration is Callable or inspect.isclass(declaration)
    return "settings with a _target_" if called else "any value"


def _described_list(kind: Any, parts: Sequence[Any]) -> str:
    if kind is tuple and Ellipsis not in parts:
        return f"a list of {len(parts)}: {', '.join(described(part) for part in parts)}"
    members = get_args(parts[0]) if get_origin(parts[0]) in (Union, types.UnionType) else (parts[0],)
    return "a list of " + " or ".join(_plural(item) for item in members)


def _plural(declaration: Any) -> str:
    if get_origin(declaration) is Annotated:
        plain, *bounds = get_args(declaration)
        return _plural(plain) + "".join(str(bound) for bound in bounds)
    return PLURALS.get(declaration, described(declaration))


def shown(value: Any) -> str:
    """Return a value as it is typed on the command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value).replace("'", "").replace("\n", " ")
