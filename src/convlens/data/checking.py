"""Values of the config that are not what they can be, each answered in one line."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from convlens.errors import InputError


def channels(name: str, value: str | float | Sequence[float]) -> Float[Tensor, "3"]:
    """One number for each channel.

    Raises:
        InputError: It is not one number or three, or not finite.
    """
    try:
        numbers = torch.tensor(value, dtype=torch.float32).expand(3)
    except (TypeError, ValueError, RuntimeError):
        either = "train, or " if name == "mean" else "one number or "
        raise InputError(f"data.{name} is {value}: give {either}three numbers") from None
    if not numbers.isfinite().all():
        raise InputError(f"data.{name} is {value}: give finite numbers")
    return numbers.clone()


def check_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    """Sees to it that a value is one of these.

    Raises:
        InputError: It is another.
    """
    if value not in choices:
        raise InputError(f"data.{name} is {value!r}: choose one of {', '.join(map(str, choices))}")


def check_least(name: str, value: int, least: int) -> None:
    """Sees to it that a value is large enough.

    Raises:
        InputError: It is below `least`.
    """
    if value < least:
        raise InputError(f"data.{name} is {value}: give at least {least}")
