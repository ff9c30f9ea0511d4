"""Checks of configuration values of data modules, each with a one-line error."""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from convlens.errors import InputError
from convlens.io.arrays import read_array

LARGEST_SIDE = 2**14
"""Pixels; an image of this side takes a gigabyte of memory in each of several steps."""
MOST_WORKERS = 1024


def channels(name: str, value: float | Sequence[float] | str) -> Float[Tensor, "3"]:
    """Return one number for each channel.

    Raises:
        InputError: the value is not one number or three, or not finite.
    """
    try:
        numbers = torch.tensor(value, dtype=torch.float32).expand(3)
    except (TypeError, ValueError, RuntimeError):
        either = "train, a file (npy), or " if name == "mean" else "one number or "
        raise InputError(f"data.{name} is {value}: give {either}three numbers") from None
    if not numbers.isfinite().all():
        raise InputError(f"data.{name} is {value}: give finite numbers")
    return numbers.clone()


def mean_image(mean: float | Sequence[float] | str, size: int) -> Float[Tensor, "3 s s"]:
    """Return the mean image given by a file or a colour.

    Args:
        mean: path of an npy file with ``[3, size, size]`` values, one number, or one number for each channel.
        size: side of the stored squares in pixels.

    Raises:
        InputError: the file cannot be read or has another size, or the colour is invalid.
    """
    if not (isinstance(mean, str) and mean.endswith(".npy")):
        return channels("mean", mean)[:, None, None].expand(3, size, size).contiguous()
    path = Path(mean).expanduser()
    try:
        if path.exists() and not path.is_file():
            raise OSError("it is no regular file")  # a pipe would be waited for
        found = torch.from_numpy(read_array(path)).float()
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"data.mean is {path}, which cannot be read ({error}): give an npy file") from None
    if found.shape != (3, size, size):
        raise InputError(f"data.mean is {path} with {list(found.shape)} values: give a mean image of {[3, size, size]}")
    return found


def check_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    """Check that a value is one of some choices.

    Raises:
        InputError: it is not.
    """
    if value not in choices:
        raise InputError(f"data.{name} is {value!r}: choose one of {', '.join(map(str, choices))}")


def check_range(name: str, value: int, least: int, most: float = math.inf) -> None:
    """Check that a number is large enough, and not too large.

    Raises:
        InputError: it is below ``least`` or above ``most``.
    """
    if value < least:
        raise InputError(f"data.{name} is {value}: give at least {least}")
    if value > most:
        raise InputError(f"data.{name} is {value}: give at most {most}")


def check_numbers(
    image_size: int, stored_size: int | None, batch_size: int, num_workers: int, limit: int | None, val_share: float
) -> None:
    """Check the numbers that ``ImageData`` takes.

    Raises:
        InputError: one is out of range.
    """
    check_range("image_size", image_size, 1, LARGEST_SIDE)
    check_range("batch_size", batch_size, 1)
    check_range("num_workers", num_workers, 0, MOST_WORKERS)
    if limit is not None:
        check_range("limit", limit, 1)
    if stored_size is not None:
        check_range("stored_size", stored_size, image_size, LARGEST_SIDE)
    if not 0 <= val_share < 1:
        raise InputError(f"data.val_share is {val_share}: give a share from 0 to below 1")
