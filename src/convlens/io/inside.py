"""Files that are not opened: those that a link leads to from outside of their folder, pipes and devices."""

from collections.abc import Iterator
from pathlib import Path

from convlens.errors import InputError


def unfit(path: Path, folder: Path) -> str:
    """Return what keeps a file of a folder from being opened, to be said after its path; empty if nothing does.

    It may lead out of the folder, by a link or by ``..``, or be a pipe or a device, which would be waited for.
    """
    try:
        inside = path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):  # a link to itself, a name that no file can have
        return "leads nowhere"
    return is_special(path) if inside else f"is a link out of {folder}"


def is_special(path: Path) -> str:
    """Return that a path is no regular file, if it is a pipe or a device; else empty."""
    return "is no regular file" if path.exists() and not (path.is_file() or path.is_dir()) else ""


def unfit_files(folder: Path) -> Iterator[str]:
    """Yield the paths below a folder that are not opened, each with the reason."""
    return (f"{path} {reason}" for path in sorted(folder.rglob("*")) if (reason := unfit(path, folder)))


def check_inside(path: Path, folder: Path) -> None:
    """Check that a file may be opened.

    Raises:
        InputError: it is a link out of the folder, a pipe or a device.
    """
    if reason := unfit(path, folder):
        raise InputError(f"{path} {reason}: copy the file itself, or remove it")
