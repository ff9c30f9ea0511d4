"""Whether a path leads out of its folder, by ``..`` or by a link."""

from collections.abc import Iterator
from pathlib import Path


def leads_out(path: Path, folder: Path) -> bool:
    """Return whether a path, with its links followed, is not below a folder."""
    return not path.resolve().is_relative_to(folder.resolve())


def links_out(folder: Path) -> Iterator[Path]:
    """Yield the links below a folder that lead out of it."""
    return (path for path in sorted(folder.rglob("*")) if path.is_symlink() and leads_out(path, folder))
