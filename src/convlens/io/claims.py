"""Files that a job is about to write: each is claimed before it is made, so that nobody else's is taken for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, runtime_checkable


@runtime_checkable
class Owner(Protocol):
    """Keeps the list of the files of a folder that are ours."""

    def claim(self, path: Path) -> None:
        """Add a file that is about to be made; raise an `InputError` if it is there and somebody else's."""

    def forget(self, path: Path) -> None:
        """Note that a file of ours was removed."""

    def owns(self, path: Path) -> bool:
        """Return whether a file is on the list, or none of this owner's business."""


_owners: list[Owner] = []


@contextmanager
def claimed_by(owner: Owner) -> Iterator[None]:
    """Have an owner asked about each file that this process writes."""
    _owners.append(owner)
    try:
        yield
    finally:
        _owners.remove(owner)


def claim(path: Path) -> None:
    """Announce a file that is about to be made.

    Raises:
        InputError: it is there and somebody else's.
    """
    for owner in _owners:
        owner.claim(path)


def remove_own(path: Path) -> None:
    """Remove a file, if it is there and ours."""
    if all(owner.owns(path) for owner in _owners):
        path.unlink(missing_ok=True)
        for owner in _owners:
            owner.forget(path)
