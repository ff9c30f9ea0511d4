"""Checks of shards before they are read: no index that runs code, no file outside of the folder, none damaged."""

import json
from collections.abc import Collection, Iterator
from pathlib import Path

from convlens.errors import InputError
from convlens.io.arrays import LARGE, file_crc
from convlens.io.inside import leads_out

INDEX_FILE = "index.json"
PLAIN_FORMATS = {"bytes", "int"}
"""litdata's formats of the values of an item that are ours; others, such as pickle, run what a file says."""


def check_index(root: str, split: str, text: str, files: Collection[str]) -> None:
    """Check the index of a split.

    Args:
        root: folder or bucket of the shards, for the message.
        split: name of the split.
        text: content of the index.
        files: names of the split's files.

    Raises:
        InputError: it is not as `write_shards` writes it.
    """
    try:
        index = json.loads(text)
        config, names = index["config"], [chunk["filename"] for chunk in index["chunks"]]
        types = set(_types(json.loads(config["data_spec"])[1]))
        plain = set(config["data_format"]) <= PLAIN_FORMATS and types <= {"builtins.dict", None}
        plain = plain and config.get("compression") is None and config.get("encryption") is None
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise InputError(f"{root}/{split}/{INDEX_FILE} is damaged ({error!r}): write the shards again") from None
    if not plain or not set(names) <= set(files):
        raise InputError(
            f"{root}/{split}/{INDEX_FILE} is not as convlens writes it (other formats or files): write the shards again"
        )


def _types(spec: dict[str, object]) -> Iterator[object]:
    """Yield the types of containers that an item is made of."""
    yield spec["type"]
    children = spec["children_spec"]
    assert isinstance(children, list)
    for child in children:
        yield from _types(child)


def check_names(root: str, names: Collection[str]) -> None:
    """Check that the names in the metadata are those of files and folders in the folder of the shards.

    Raises:
        InputError: one leads out of it.
    """
    for name in names:
        if not isinstance(name, str) or name in ("", ".", "..") or "/" in name or "\\" in name:
            raise InputError(f"{root} holds shards with a file named {name!r}: write them again")


def check_files(folder: Path, written: float, files: dict[str, dict[str, int]], size: int) -> None:
    """Check the checksums of the shards in a folder; if there are many, of those that are newer than their metadata.

    Args:
        folder: the folder of the shards.
        written: time of the metadata.
        files: CRC-32 of each file of each split.
        size: bytes of all files.

    Raises:
        InputError: a file leads out of the folder, or is not as it was written.
    """
    for split, checksums in files.items():
        for name, crc in checksums.items():
            path = folder / split / name
            if leads_out(path, folder):
                raise InputError(f"{path} is a link out of {folder}: copy the file")
            changed = size <= LARGE or path.stat().st_mtime > written
            if changed and file_crc(path, path.stat().st_size) != crc:
                raise InputError(f"{path} is damaged (it is not as it was written): copy it again, or write it again")
