"""Sizes and digests of files, by which a later reader finds those that were changed or cut short."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from convlens.errors import DamagedError
from convlens.io.arrays import check_array
from convlens.io.hashing import file_checksum

State = list[int | str]
LARGE = 2**26
"""Bytes of a file whose content is left to its own checksum, such as an array's."""


def file_state(path: Path) -> State:
    """Return the size of a file and, if it is not large, its checksum."""
    size = path.stat().st_size
    return [size] if size > LARGE else [size, file_checksum(path, "blake2b")[: len("blake2b:") + 16]]


def file_states(folder: Path, names: Iterable[str]) -> dict[str, State]:
    """Return the states of those files that exist, by their path relative to a folder."""
    return {name: file_state(folder / name) for name in names if (folder / name).is_file()}


def changed_files(folder: Path, states: object) -> list[str]:
    """Return the files whose state is not the recorded one; files that were removed do not count.

    Args:
        folder: the folder.
        states: as `file_states` returned them; nothing is found where it is no mapping.
    """
    if not isinstance(states, Mapping):
        return []
    found = file_states(folder, states)
    changed = [name for name, state in found.items() if state != states[name]]
    for name in sorted(found.keys() - changed):
        if name.endswith(".npy"):
            try:
                check_array(folder / name)
            except DamagedError:
                changed.append(name)
    return changed
