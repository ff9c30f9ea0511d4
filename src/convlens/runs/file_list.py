"""The list of a run's files in its record: each file is added before it is written, whoever is killed then."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from convlens.errors import InputError
from convlens.io.claims import claimed_by
from convlens.io.locks import file_lock
from convlens.runs.record_file import COPY, RECORD, read_record, write_record
from convlens.runs.replacement import FILES, FOLDERS, own_files

LOCK = ".lock-record"


@contextmanager
def record_lock(run_dir: Path) -> Iterator[None]:
    """Hold the lock of a record, which several analyses and a training may change at the same time."""
    with file_lock(run_dir / LOCK, f"writing the record of {run_dir}"):
        try:
            yield
        finally:  # who waits for the removed file sees that it is none any more
            (run_dir / LOCK).unlink(missing_ok=True)


class FileList:
    """Adds what this process writes to the list of a run's files.

    Args:
        run_dir: the run, which has a record.
        shared: other processes may write the same files at the same time: the list in the record decides.
    """

    def __init__(self, run_dir: Path, *, shared: bool = False) -> None:
        self.run_dir, self.shared = Path(os.path.abspath(run_dir)), shared
        self.known = own_files(run_dir)

    def name(self, path: Path) -> str | None:
        """Return the name of a file that has the place of a run's, relative to the run; None for another."""
        path = Path(os.path.abspath(path))
        if not path.is_relative_to(self.run_dir) or path.name.startswith(".lock"):
            return None
        name = path.relative_to(self.run_dir).as_posix()
        kept = name in FILES or name.partition("/")[0] in FOLDERS
        return name if kept and name not in (RECORD, COPY) else None

    def owns(self, path: Path) -> bool:
        """Return whether a file is the run's, or none of the run's places."""
        name = self.name(path)
        return name is None or name in self.known or name in own_files(self.run_dir)

    def claim(self, path: Path) -> None:
        """Add a file that is about to be written.

        Raises:
            InputError: it is there and not the run's.
        """
        name = self.name(path)
        if name is None or (name in self.known and not self.shared):
            return
        with record_lock(self.run_dir):
            if os.path.lexists(path) and not self.owns(path):
                raise InputError(
                    f"{path} would be overwritten and was not written by convlens: move it to another folder"
                )
            record = read_record(self.run_dir)
            if isinstance(files := record.get("files"), list) and name not in files:
                write_record(self.run_dir, record | {"files": sorted([*map(str, files), name])})
        self.known.add(name)

    def forget(self, path: Path) -> None:
        """Take a file that was removed off the list, before another process makes it again."""
        name = self.name(path)
        if name is None or not self.shared:  # else `listed` leaves it out
            return
        with record_lock(self.run_dir):
            record = read_record(self.run_dir)
            if isinstance(files := record.get("files"), list) and name in files:
                write_record(self.run_dir, record | {"files": [one for one in files if one != name]})
        self.known.discard(name)

    def listed(self) -> list[str]:
        """Return the list in the record, and what loggers have written, without files that this process has removed."""
        listed = read_record(self.run_dir).get("files", ())
        gone = {name for name in self.known if not os.path.lexists(self.run_dir / name)}
        if self.shared:  # another process may be about to write them
            gone = set()
        return sorted(({*map(str, listed)} - gone) | own_files(self.run_dir) | {RECORD, COPY})


@contextmanager
def listing(run_dir: Path, *, shared: bool = False) -> Iterator[None]:
    """Add the files that an analysis of a run writes meanwhile to the list in the run's record.

    Records without a list are left as they are: those of version 0.1 own all that has the place of a run's.
    """
    files = FileList(run_dir, shared=shared)
    try:
        with claimed_by(files):
            yield
    finally:
        if isinstance(read_record(run_dir).get("files"), list):
            with record_lock(run_dir):
                record = read_record(run_dir)
                if record["files"] != (listed := files.listed()):
                    write_record(run_dir, record | {"files": listed})
