"""Atomic writes: a file appears complete under its name, or not at all."""

import contextlib
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from convlens.io.claims import claim
from convlens.io.resources import resource_error

HOST = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())
PARTIAL = re.compile(rf"\..+\.{HOST}-(\d+)\.partial")
"""Names of temporary files of this machine; the number is that of the process. Others may share the disk."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; rename it to ``path`` at the end, remove it after an exception.

    Missing folders are created. The content is on the disk before the name is: a machine that fails
    leaves no empty file.

    Raises:
        InputError: the file is there and somebody else's.
        ResourceError: the disk is full, or may not be written to.
    """
    claim(path)
    partial = path.with_name(f".{path.name}.{HOST}-{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        _sync(partial)
        os.replace(partial, path)
    except OSError as error:
        if found := resource_error(error, path.parent):
            raise found from error
        raise
    finally:
        with contextlib.suppress(OSError):  # on a read-only disk, where it is not there either
            partial.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Have the system write a file to the disk."""
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def remove_partials(folder: Path, pattern: str = "**/.*.partial") -> None:
    """Remove the temporary files of `replacing` that processes of this machine have left that were killed.

    Args:
        folder: the folder.
        pattern: of the paths; the default also looks into folders below.
    """
    for path in folder.glob(pattern):
        found = PARTIAL.fullmatch(path.name)
        if found and path.is_file() and not _is_alive(int(found[1])):
            path.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass  # of somebody else
    return True


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write a file, whole or not at all."""
    with replacing(path) as partial:
        partial.write_bytes(content)
