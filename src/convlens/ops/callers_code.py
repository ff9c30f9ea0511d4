"""Code that the caller gives (networks, loaders, functions): where it fails, one line says so."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

from convlens.errors import InputError
from convlens.ops.input_checks import shown

MISTAKES = (TypeError, AttributeError, ValueError, RuntimeError, ArithmeticError, AssertionError, LookupError)
"""What code raises that was not made for its arguments; an exception of the caller's own is left to the caller."""

T = TypeVar("T")
R = TypeVar("R")


class StoppedError(Exception):
    """Ends a forward pass on purpose: the network has not failed."""


@contextmanager
def one_line(
    where: str, raised: type[InputError] = InputError, caught: tuple[type[Exception], ...] = MISTAKES
) -> Iterator[None]:
    """Raise an error of the caller's code as one line.

    Args:
        where: what has failed.
        raised: the error to raise.
        caught: the errors that are raised so.

    Raises:
        InputError: the code has failed; memory that lacks is no mistake of the code.
    """
    try:
        yield
    except (InputError, StoppedError, MemoryError, torch.OutOfMemoryError):
        raise
    except caught as error:
        raise raised(f"{where}: {first_line(error)}") from error


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message; its type if it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def check_function(name: str, value: Callable[..., R]) -> Callable[..., R]:
    """Return a function of the caller that fails in one line.

    Raises:
        InputError: it cannot be called.
    """
    if not callable(value):
        raise InputError(f"{name}={shown(value)}: give a function")

    def call(*args: object) -> R:
        with one_line(f"{name} has failed"):
            return value(*args)

    return call


def stacked(batches: Iterable[T]) -> Iterator[T]:
    """Yield a loader's batches; its images must be of one size to be stacked.

    Raises:
        InputError: they are not, or the loader fails in another way.
    """
    try:
        with one_line("the loader has failed"):
            yield from batches
    except InputError as error:
        if error.__cause__ is None or "equal size" not in str(error.__cause__):
            raise
        raise InputError("images of different sizes in one batch: scale or crop all to one size") from error.__cause__
