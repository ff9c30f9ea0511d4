"""Arrays in npy files that are mapped into memory to be written, with their room on the disk reserved."""

import os
from pathlib import Path

import numpy as np

from convlens.io.claims import claim


def create_memory_map(path: Path, dtype: type[np.generic], shape: tuple[int, ...]) -> np.memmap:
    """Create an npy file of zeros and map it for writing; its folder is made if it is missing.

    Its blocks on the disk are allocated here: where the system leaves that to the first write, a full disk ends the
    process without a message (SIGBUS).

    Raises:
        InputError: the file is there and somebody else's.
        OSError: the disk has too little room, or cannot be written; the file is removed.
    """
    claim(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.unlink(missing_ok=True)  # a link would be written through
        array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
        if hasattr(os, "posix_fallocate"):  # not on macOS
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as error:
        path.unlink(missing_ok=True)
        error.filename = error.filename or str(path)
        raise
    return array
