"""Writing of shards and their metadata (litdata's format)."""

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from convlens.data.shards.metadata import FORMAT_VERSION, METADATA_FILE, file_crcs, file_sizes, import_litdata
from convlens.data.splits.image_index import ImageIndex
from convlens.data.splits.split import Split
from convlens.errors import InputError, ResourceError
from convlens.io.hashing import digest_bytes
from convlens.io.json_files import read_json, write_json

if TYPE_CHECKING:
    from convlens.data.shards.reader import ShardItem

ITEM_BYTES = 64
"""Largest number of bytes of an item in a shard besides its pixels."""
WORK_BYTES = 10**9
"""Bytes of the shards that are in litdata's work folder at a time, at most, before they are moved."""
RECORD_FILE = "done.json"
"""File in a split's folder that records the digest of its images, and their number once all are written."""


def write_shards(
    splits: dict[str, Split], class_names: Sequence[str], folder: Path, *, size: int, shard_bytes: str, workers: int
) -> dict[str, int]:
    """Write splits as shards, each in a folder of its own; a finished split with the same images is kept.

    Args:
        splits: splits by name; the order of their rows is kept.
        class_names: names of the classes.
        folder: parent folder of the splits.
        size: side of the squares in pixels.
        shard_bytes: size of a shard, such as ``64MB``.
        workers: number of processes that decode.

    Returns:
        Number of unreadable images of each split.

    Raises:
        InputError: litdata is not installed, or the folder holds other images or files.
    """
    import_litdata()
    with _work_folders(folder):
        return _write_all(splits, class_names, folder, size=size, shard_bytes=shard_bytes, workers=workers)


@contextmanager
def _work_folders(folder: Path) -> Iterator[None]:
    """Have litdata work in a hidden folder of the output: it empties ``data`` and ``chunks`` in its work folder, which
    is the system's temporary directory otherwise."""
    work = folder / ".work"
    names = {"DATA_OPTIMIZER_CACHE_FOLDER": "chunks", "DATA_OPTIMIZER_DATA_CACHE_FOLDER": "data"}
    before = {name: os.environ.get(name) for name in names}
    shutil.rmtree(work, ignore_errors=True)  # of a process that was killed
    os.environ.update({name: str(work / place) for name, place in names.items()})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        shutil.rmtree(work, ignore_errors=True)


def _write_all(
    splits: dict[str, Split], class_names: Sequence[str], folder: Path, *, size: int, shard_bytes: str, workers: int
) -> dict[str, int]:
    """Write the splits that are not finished, then the metadata; return the number of unreadable images."""
    digests = {name: split_digest(split, class_names, size) for name, split in splits.items()}
    for name in splits:
        target = folder / name
        if not target.exists() or not any(target.iterdir()):
            continue
        if _read_record(target).get("of") != digests[name]:
            kind = "images" if (target / RECORD_FILE).exists() else "files"
            raise InputError(f"{target} holds other {kind}: remove it, or choose another folder")
    _check_room(folder, [split for name, split in splits.items() if "count" not in _read_record(folder / name)], size)
    counts: dict[str, int] = {}
    for name, split in splits.items():
        target = folder / name
        if "count" not in _read_record(target):
            write_json(target / RECORD_FILE, {"of": digests[name]})  # litdata removes what an interrupted attempt left
            count = _write_split(split, target, size=size, shard_bytes=shard_bytes, workers=workers)
            write_json(target / RECORD_FILE, {"count": count, "of": digests[name]})
        counts[name] = int(str(_read_record(target)["count"]))
    metadata = {
        "version": FORMAT_VERSION,
        "size": size,
        "class_names": list(class_names),
        "counts": counts,
        "shards": {name: file_sizes(folder / name) for name in splits},
        "crc32": {name: file_crcs(folder / name) for name in splits},
        "mean": mean_image(folder / "train", size).round(3).flatten().tolist(),
    }
    write_json(folder / METADATA_FILE, metadata)
    return {name: len(split.rows) - counts[name] for name, split in splits.items()}


def _check_room(folder: Path, splits: Sequence[Split], size: int) -> None:
    """Check that the disk has room for the splits: litdata's processes wait for ever when it becomes full.

    Raises:
        ResourceError: it has not.
    """
    needed = sum(len(split.rows) for split in splits) * (3 * size**2 + ITEM_BYTES)
    needed += min(needed, WORK_BYTES) + 10**6 if needed else 0
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if needed > (free := shutil.disk_usage(existing).free):
        raise ResourceError(
            f"{folder} needs {needed / 1e6:.1f} MB for the shards and {free / 1e6:.1f} MB are free: make room, choose "
            "another task.output, or a smaller data.stored_size or data.limit"
        )


def _write_split(split: Split, folder: Path, *, size: int, shard_bytes: str, workers: int) -> int:
    """Write the readable images of a split and return their number."""
    litdata = import_litdata()
    inputs = list(enumerate(split.rows.tolist()))
    if not inputs:
        return 0
    litdata.optimize(
        partial(read_row, image_index=split.image_index, size=size),
        inputs,
        str(folder),
        chunk_bytes=shard_bytes,
        num_workers=max(1, min(workers, len(inputs))),
        mode="overwrite",
        keep_data_ordered=True,
        verbose=False,
        start_method="fork" if hasattr(os, "fork") else "spawn",
    )
    return len(litdata.StreamingDataset(str(folder)))


def split_digest(split: Split, class_names: Sequence[str], size: int) -> str:
    """Return a digest of a split's images, their order, classes and pixels."""
    index = split.image_index
    states = list(index.file_states())
    return digest_bytes(
        f"{size} {index.title} {index.decode_version}".encode(),
        "\n".join(class_names).encode(),
        "\n".join(f"{index.names[row]} {states[row]}" for row in split.rows).encode(),
        index.labels[split.rows].tobytes(),
    )


def _read_record(folder: Path) -> Mapping[str, object]:
    return read_json(folder / RECORD_FILE)


def read_row(indexed_row: tuple[int, int], *, image_index: ImageIndex, size: int) -> dict[str, bytes | int] | None:
    """Return the image of an (index, row) pair as an item of a shard; None if it is unreadable."""
    index, row = indexed_row
    block = image_index.read([row], size)
    if block.unreadable:
        return None
    return {"image": block.images[0].tobytes(), "label": int(image_index.labels[row]), "index": index}


def mean_image(folder: Path, size: int) -> Float[np.ndarray, " values"]:
    """Return the mean of the images in a folder of shards, as 3 x size x size values."""
    items: Iterable[ShardItem] = import_litdata().StreamingDataset(str(folder))
    total, count = np.zeros(3 * size * size), 0
    for item in items:
        total += np.frombuffer(item["image"], np.uint8)  # type: ignore[arg-type]
        count += 1
    return total / max(count, 1)
