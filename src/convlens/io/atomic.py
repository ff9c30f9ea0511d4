"""Files that are whole or not there: written under a temporary name, then renamed."""

import errno
import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from convlens.errors import BusyError, InputError

log = logging.getLogger(__name__)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path`` to write to; renamed to it at the end, removed after an exception.

    Raises:
        InputError: the disk, or the user's share of it, is full.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        os.replace(partial, path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise no_space(path.parent) from error
        raise
    finally:
        partial.unlink(missing_ok=True)


def first_process() -> bool:
    """Whether this process writes: of several that work together, on one machine or many, one does.

    Told by what Lightning, torchrun and SLURM set in the environment of the processes that they start.
    """
    ranks = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID")
    return all(os.environ.get(name, "0") == "0" for name in ranks)


@contextmanager
def directory_lock(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Keep other processes out of a folder, but for the helpers that this one starts; ``wait`` for them to leave it.

    Raises:
        BusyError: another process is in there.
    """
    if not first_process():
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if not wait:
            raise BusyError(f"another process works in {folder}: wait for it, or choose another run_dir") from None
        log.info("waiting for another process that works in %s", folder)
        lock.acquire()
    try:
        yield
    finally:
        if not wait:  # or one that waits would have a file that no other sees
            Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def no_space(folder: Path) -> InputError:
    """What to say when a disk is full."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(there).free / 1e6
    return InputError(
        f"the disk is full while writing to {folder} ({free:.0f} MB free): make room or choose another run_dir"
    )


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write a file, whole or not at all."""
    with replacing(path) as partial:
        partial.write_bytes(content)


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, whole or not at all."""
    write_bytes(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())
