"""Values of the config that are not what they can be, each answered in one line."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
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
        either = "train, a file (npy), or " if name == "mean" else "one number or "
        raise InputError(f"data.{name} is {value}: give {either}three numbers") from None
    if not numbers.isfinite().all():
        raise InputError(f"data.{name} is {value}: give finite numbers")
    return numbers.clone()


def mean_image(mean: str | float | Sequence[float], size: int) -> Float[Tensor, "3 s s"]:
    """The mean image that is given, as a file or by its colour.

    Raises:
        InputError: There is no such file, or it is of another size, or the colour is none.
    """
    if not (isinstance(mean, str) and mean.endswith(".npy")):
        return channels("mean", mean)[:, None, None].expand(3, size, size).contiguous()
    path = Path(mean).expanduser()
    try:
        found = torch.from_numpy(np.load(path)).float()
    except (OSError, ValueError) as error:
        raise InputError(f"data.mean is {path}, which cannot be read ({error}): give an npy file") from None
    if found.shape != (3, size, size):
        raise InputError(f"data.mean is {path} with {list(found.shape)} values: give a mean image of {[3, size, size]}")
    return found


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
