"""Checks of shards before they are read: no index that runs code, no file outside of the folder, none damaged."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from convlens.errors import InputError
from convlens.io.arrays import LARGE, file_crc
from convlens.io.inside import check_inside
from convlens.io.json_files import parse_json

INDEX_FILE = "index.json"
PLAIN_FORMATS = {"bytes", "int"}
"""litdata's formats of the values of an item that are ours; others, such as pickle, run what a file says."""
Sizes = dict[str, dict[str, int]]
"""A number for each file of each split."""


def check_metadata(root: str, found: Mapping[str, Any]) -> None:
    """Check that the metadata have all that shards are read by, so that no split is read whose files are not checked.

    Raises:
        InputError: they are not as `write_shards` writes them.
    """
    try:
        counts, shards, size, mean = (found[name] for name in ("counts", "shards", "size", "mean"))
        tables = [counts, *shards.values(), *found.get("crc32", {}).values()]
        numbers = [size, *mean, *(number for table in tables for number in table.values())]
        whole = all(isinstance(number, int | float) for number in numbers) and len(mean) == 3 * size**2
        whole = whole and counts.keys() == shards.keys() and all(isinstance(name, str) for name in found["class_names"])
    except (KeyError, TypeError, AttributeError):
        whole = False
    if not whole:
        raise InputError(
            f"{root}/about.json is not as convlens writes it (entries are missing): write the shards again"
        )


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
        index = parse_json(text)
        config, names = index["config"], {chunk["filename"] for chunk in index["chunks"]}
        types = set(_types(parse_json(config["data_spec"])[1]))
        plain = set(config["data_format"]) <= PLAIN_FORMATS and types <= {"builtins.dict", None}
        plain = plain and config.get("compression") is None and config.get("encryption") is None
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise InputError(f"{root}/{split}/{INDEX_FILE} is damaged ({error!r}): write the shards again") from None
    if not plain or not names <= set(files):
        raise InputError(
            f"{root}/{split}/{INDEX_FILE} is not as convlens writes it (other formats or files): write the shards again"
        )


def _types(spec: dict[str, object]) -> Iterator[object]:
    """Yield the types of containers that an item is made of."""
    yield spec["type"]
    if not isinstance(children := spec["children_spec"], list):
        raise TypeError("children_spec is no list")
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


def check_files(folder: Path, written: float, files: Sizes, checksums: Sizes) -> None:
    """Check the checksums of the shards in a folder; if there are many, of those that are newer than their metadata.

    Args:
        folder: the folder of the shards.
        written: time of the metadata.
        files: bytes of each file of each split.
        checksums: CRC-32 of them; none in shards of version 0.1.

    Raises:
        InputError: a file leads out of the folder, or is not as it was written.
    """
    size = sum(sum(sizes.values()) for sizes in files.values())
    for split, sizes in files.items():
        for name in sizes:
            path, crc = folder / split / name, checksums.get(split, {}).get(name)
            check_inside(path, folder)
            changed = size <= LARGE or path.stat().st_mtime > written
            if crc is not None and changed and file_crc(path, path.stat().st_size) != crc:
                raise InputError(f"{path} is damaged (it is not as it was written): copy it again, or write it again")
