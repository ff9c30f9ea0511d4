"""Writing of shards and their metadata (litdata's format)."""

import os
import re
import shutil
import tempfile
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
from convlens.io.names import name_bytes

if TYPE_CHECKING:
    from convlens.data.shards.reader import ShardItem

ITEM_BYTES = 64
"""Largest number of bytes of an item in a shard besides its pixels."""
WORK_BYTES = 10**9
"""Bytes of the shards that are in litdata's work folder at a time, at most, before they are moved."""
WORK = ".work-"
"""Begin of the name of the folder in the output where splits are written."""
WORK_MARK = "of_convlens"
"""File in that folder, which tells one that a killed process has left from a folder of the user."""
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
    digests = {name: split_digest(split, class_names, size) for name, split in splits.items()}
    _check_output(folder, digests)
    missing = {name: split for name, split in splits.items() if "count" not in _read_record(folder / name)}
    _check_room(folder, list(missing.values()), size)
    folder.mkdir(parents=True, exist_ok=True)
    with _work_folder(folder) as work:
        for name, split in missing.items():
            _remove_interrupted(folder / name)
            count = _write_split(split, work / name, size=size, shard_bytes=shard_bytes, workers=workers)
            write_json(work / name / RECORD_FILE, {"count": count, "of": digests[name]})
            _put_in_place(work / name, folder / name)
    counts = {name: int(str(_read_record(folder / name)["count"])) for name in splits}
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


def _check_output(folder: Path, digests: Mapping[str, str]) -> None:
    """Check that the folder holds nothing but these splits, as far as their places are concerned.

    Raises:
        InputError: a split's place is taken by other images or files, or that of the metadata by another file.
    """
    begun = False
    for name, digest in digests.items():
        target = folder / name
        if not os.path.lexists(target) or (target.is_dir() and not any(target.iterdir())):
            continue
        if target.is_symlink() or _read_record(target).get("of") != digest:
            kind = "images" if (target / RECORD_FILE).exists() else "files"
            raise InputError(f"{target} holds other {kind}: remove it, or choose another folder")
        begun = True
    path = folder / METADATA_FILE
    if os.path.lexists(path) and not begun and not {"class_names", "counts", "shards"} <= read_json(path).keys():
        raise InputError(f"{path} was not written by convlens: move it, or choose another folder")


@contextmanager
def _work_folder(folder: Path) -> Iterator[Path]:
    """Make a hidden folder in the output for the splits while they are written, and for litdata's own work.

    litdata empties ``data`` and ``chunks`` in its work folder, which is the system's temporary directory otherwise.
    """
    for mark in folder.glob(f"{WORK}*/{WORK_MARK}"):  # of processes that were killed
        if not mark.parent.is_symlink():
            shutil.rmtree(mark.parent, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=WORK, dir=folder))
    (work / WORK_MARK).touch()
    names = {"DATA_OPTIMIZER_CACHE_FOLDER": "chunks", "DATA_OPTIMIZER_DATA_CACHE_FOLDER": "data"}
    before = {name: os.environ.get(name) for name in names}
    os.environ.update({name: str(work / "of_litdata" / place) for name, place in names.items()})
    try:
        yield work
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        shutil.rmtree(work, ignore_errors=True)


def _put_in_place(written: Path, target: Path) -> None:
    """Move a split that is complete to its place.

    Raises:
        InputError: somebody has put files there meanwhile.
    """
    try:
        written.rename(target)
    except OSError:
        if not os.path.lexists(target):
            raise
        raise InputError(f"{target} holds other files: remove it, or choose another folder") from None


def _remove_interrupted(target: Path) -> None:
    """Remove what an earlier version has left of a split when it was killed, and nothing else.

    Raises:
        InputError: there are other files, too.
    """
    for path in target.glob("*"):
        if re.fullmatch(rf"chunk-\d+-\d+\.bin|index\.json|{RECORD_FILE}", path.name):
            path.unlink()
    if target.exists():
        try:
            target.rmdir()
        except OSError:
            raise InputError(f"{target} holds other files: remove it, or choose another folder") from None


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
    folder.mkdir()
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
        name_bytes(f"{size} {index.title} {index.decode_version}"),
        name_bytes("\n".join(class_names)),
        name_bytes("\n".join(f"{index.names[row]} {states[row]}" for row in split.rows)),
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
