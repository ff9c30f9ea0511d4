"""Locks between processes: on a file, and on a directory in which one process works."""

import contextlib
import errno
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from convlens.errors import BusyError
from convlens.io.json_files import read_json, write_json
from convlens.io.rank import is_rank_zero

log = logging.getLogger(__name__)
RECORD = "record"
"""The part of a directory that processes wait for, and hold for a moment."""
HOLDER = ".holder"
"""Suffix of the file beside a lock file that says which process holds it."""


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
        if not path.exists():  # the library takes a folder in which no file can be made for a lock that is held
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path)) from None
        log.info("another process is %s: waiting for it", activity)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def directory_lock(folder: Path, part: str = "", *, wait: bool = False) -> Iterator[None]:
    """Keep other processes out of a directory, except the ranks of the same job.

    Directories that did not exist and are empty at the end are removed again.

    Args:
        folder: the directory, which is created if needed.
        part: name of the part of the directory that is locked; empty for the directory itself, whose parts others may
            work on at the same time.
        wait: whether to wait for a process that works there.

    Raises:
        BusyError: another process works there and ``wait`` is false; the message says which, where and since when.
    """
    if not is_rank_zero():
        yield
        return
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / (f".lock-{part}" if part else ".lock")
    try:
        if wait:
            with file_lock(path, f"working in {folder}"):
                yield
        else:
            with _held(path, f"works on {part} in {folder}" if part else f"works in {folder}"):
                yield
    finally:
        with contextlib.suppress(OSError):  # not empty
            for made in new:
                made.rmdir()


def check_parts(folder: Path) -> None:
    """Check that no other process works on a part of a directory, before its files are moved.

    Raises:
        BusyError: one does; the message says which, where and since when.
    """
    for path in sorted(folder.glob(".lock-*")):
        if not path.name.endswith(HOLDER) and path.name != f".lock-{RECORD}":
            with _held(path, f"works on {path.name.removeprefix('.lock-')} in {folder}"):
                pass


@contextmanager
def _held(path: Path, activity: str) -> Iterator[None]:
    """Hold the lock file of a directory and note beside it who does."""
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    holder = path.with_name(path.name + HOLDER)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise BusyError(f"another process{_who(holder)} {activity}: wait for it") from None
    try:
        write_json(holder, {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%F %T")})
        yield
    finally:
        holder.unlink(missing_ok=True)
        path.unlink(missing_ok=True)  # not where processes wait: they would hold a file that no other sees
        lock.release()


def _who(holder: Path) -> str:
    """Return in parentheses which process holds a lock; empty if it has not noted that yet."""
    found = read_json(holder)
    return f" (pid {found['pid']}, host {found['host']}, since {found['since']})" if found else ""
