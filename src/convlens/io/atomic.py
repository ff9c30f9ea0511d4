"""Atomic writes: a file appears complete under its name, or not at all."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from convlens.errors import InputError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; rename it to ``path`` at the end, remove it after an exception.

    Missing folders are created.

    Raises:
        InputError: the disk or the user's quota is full.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        os.replace(partial, path)
    except OSError as error:
        if is_disk_full(error):
            raise disk_full(path.parent) from error
        raise
    finally:
        partial.unlink(missing_ok=True)


def is_disk_full(error: BaseException | None) -> bool:
    """Return whether an error reports that the disk or the user's quota is full."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def disk_full(folder: Path) -> InputError:
    """Return the error to raise when the disk is full while writing to a folder."""
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(existing).free / 1e6
    return InputError(
        f"the disk is full while writing to {folder} ({free:.0f} MB free): make room or choose another run_dir"
    )


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write a file, whole or not at all."""
    with replacing(path) as partial:
        partial.write_bytes(content)
