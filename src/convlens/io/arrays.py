"""Arrays as npy and npz files, whole or not there."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from convlens.io.atomic import replacing


def write_array(path: Path, array: ArrayLike) -> Path:
    """Write an array as npy, whole or not at all; return the path."""
    with replacing(path) as partial, partial.open("wb") as file:
        np.save(file, array)
    return path


def write_arrays(path: Path, arrays: Mapping[str, ArrayLike]) -> Path:
    """Write named arrays as a compressed npz, whole or not at all; return the path."""
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **dict(arrays))  # type: ignore[arg-type]
    return path
