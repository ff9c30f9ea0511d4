"""Constructors that nodes of the configuration name: import them, and convert values to their annotations."""

import difflib
import functools
import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_type_hints

from convlens.errors import InputError
from convlens.io.resources import resource_error
from convlens.runs.config_errors import one_line
from convlens.runs.foreign_types import convert_foreign
from convlens.runs.type_conversion import MismatchError, described, shown
from convlens.runs.typed_settings import checked


@dataclass(frozen=True)
class Constructor:
    """A class or function that a node names.

    Attributes:
        names: its keywords.
        hints: their annotations, as far as there are any; with None where that is the default.
        any_keyword: whether it takes further keywords.
        ours: whether it is of this package, so that its annotations are all that it takes.
    """

    names: Sequence[str]
    hints: Mapping[str, Any]
    any_keyword: bool
    ours: bool

    def takes(self, name: str) -> bool:
        """Return whether there is such a keyword."""
        return self.any_keyword or name in self.names

    def convert(self, value: object, declaration: Any, place: str) -> object:
        """Convert a value to its annotation.

        Raises:
            InputError: it cannot be converted.
        """
        if self.ours:
            return checked(value, declaration, place)
        try:
            return convert_foreign(value, declaration)
        except MismatchError:
            raise InputError(f"{place}={shown(value)}: give {described(declaration)}") from None


def imported(target: str, where: str) -> Any:
    """Import what a ``_target_`` names.

    Raises:
        InputError: it cannot be imported.
    """
    names = target.split(".")
    found: Any = None
    name = names[0]
    try:
        found = importlib.import_module(name)
        for number, name in enumerate(names[1:], 2):
            if not hasattr(found, name):  # a function may have the name of its module
                importlib.import_module(".".join(names[:number]))
            found = getattr(found, name)
        return found
    except (ImportError, AttributeError, ValueError) as error:
        if lacking := resource_error(error):
            raise lacking from None
        near = difflib.get_close_matches(name, [own for own in dir(found) if own[0] != "_"], 1, 0.75) if found else []
        guess = f": did you mean {target.rpartition(name)[0]}{near[0]}?" if near and near[0] != name else ""
        raise InputError(f"{where}._target_={target} cannot be imported ({one_line(error)}){guess}") from None


@functools.cache
def constructor_of(target: str, where: str) -> Constructor:
    """Return the constructor that a ``_target_`` names; ``where`` is the place of its node, for messages.

    Raises:
        InputError: it cannot be imported, or is neither class nor function.
    """
    made = imported(target, where)
    if not callable(made):
        raise InputError(f"{where}._target_={target} is not a class or function")
    try:
        parameters = inspect.signature(made).parameters
    except (TypeError, ValueError):
        return Constructor((), {}, any_keyword=True, ours=False)
    kinds = {parameter.kind for parameter in parameters.values()}
    names = [name for name, one in parameters.items() if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
    whole = made.func if isinstance(made, functools.partial) else made
    function: Callable[..., object] = whole.__init__ if inspect.isclass(whole) else whole
    try:
        hints = get_type_hints(function, include_extras=True)
    except (NameError, TypeError, AttributeError):
        hints = {}
    for name, parameter in parameters.items():
        if parameter.default is None and name in hints:
            hints[name] = hints[name] | None if hints[name] is not Any else Any  # many libraries leave it out
    ours = str(getattr(whole, "__module__", "")).partition(".")[0] == "convlens"
    return Constructor(names, hints, inspect.Parameter.VAR_KEYWORD in kinds, ours)
