"""Conversion of configuration values for constructors of other libraries, which may take more than they declare."""

import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin, is_typeddict

from convlens.runs.type_conversion import SEQUENCES, MismatchError, convert, is_node

NONE = type(None)


def convert_foreign(value: Any, declaration: Any) -> Any:
    """Convert a value for a constructor of another library, which may take more than its annotations say.

    Words for true and false are converted, a number where only text is taken, and a single value where only a list is.
    Otherwise a value is left as it is, or refused if no member of the annotation could mean it: true where there is no
    boolean, null where there is no None, a number where there are only texts, lists or classes, and texts, lists and
    mappings where there are only numbers, booleans and choices. A number may always take the place of another one.

    Raises:
        MismatchError: the constructor cannot take the value.
    """
    try:
        found = convert(value, declaration)
    except MismatchError:
        if not is_node(value) and not _may_take(value, declaration):
            raise
        return value
    single = isinstance(found, list) and not isinstance(value, list | tuple)
    return found if isinstance(found, bool | str) or single else value


def _may_take(value: Any, declaration: Any) -> bool:
    """Return whether an annotation leaves it open that a value is taken that it does not name."""
    kind, parts = get_origin(declaration), get_args(declaration)
    if kind in (Union, types.UnionType):
        return any(_may_take(value, part) for part in parts)
    if kind is Annotated:
        return _may_take(value, parts[0])
    if isinstance(value, bool) or value is None:
        return declaration not in (int, float) and _is_open(value, declaration)
    if isinstance(value, int | float):
        return declaration in (int, float) or _is_open(value, declaration)
    if kind is Literal or declaration in (int, float, bool, NONE):
        return False
    if declaration is str:
        return not isinstance(value, Sequence | Mapping)
    if kind in SEQUENCES:
        return isinstance(value, list | tuple) and all(_takes(item, part) for item in value for part in parts[:1])
    if inspect.isclass(declaration) and isinstance(value, list | tuple | Mapping):
        return issubclass(declaration, Sequence | Mapping)
    return getattr(declaration, "__name__", "") != "Tensor"


def _is_open(value: Any, declaration: Any) -> bool:
    """Return whether an annotation may take a number or None: as a base class, such as Number, or a protocol."""
    kind = get_origin(declaration) or declaration
    if inspect.isclass(kind) and not getattr(kind, "_is_protocol", False) and not is_typeddict(kind):
        return isinstance(value, kind)
    return inspect.isclass(kind) or kind not in (Literal, Callable)


def _takes(value: Any, declaration: Any) -> bool:
    try:
        convert_foreign(value, declaration)
    except MismatchError:
        return False
    return True
