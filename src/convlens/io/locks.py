"""Locks between processes: on a file, and on a directory in which one process works."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from convlens.errors import BusyError
from convlens.io.rank import is_rank_zero

log = logging.getLogger(__name__)


@contextmanager
def file_lock(path: Path, activity: str) -> Iterator[None]:
    """Hold a lock file; wait while another process holds it.

    The operating system frees the lock when its process ends. The file stays.

    Args:
        path: the lock file; its folder exists.
        activity: what the other process does, for the log, such as ``building DIR``.
    """
    from filelock import FileLock, Timeout  # slow to import, and not needed for `convlens --help`

    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info("another process is %s: waiting for it", activity)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def directory_lock(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Keep other processes out of a directory, except the ranks of the same job.

    Args:
        folder: the directory, which is created if needed.
        wait: whether to wait for a process that works there.

    Raises:
        BusyError: another process works there and ``wait`` is false.
    """
    if not is_rank_zero():
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ".lock"
    if wait:
        with file_lock(path, f"working in {folder}"):
            yield
        return
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise BusyError(f"another process works in {folder}: wait for it, or choose another run_dir") from None
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # not where processes wait: they would hold a file that no other sees
        lock.release()
