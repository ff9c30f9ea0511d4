"""Builds the cache of decoded images so that it can be stopped at any moment, and goes on from there.

The build happens in `<folder>.partial`. After each block the pixels are forced to the disk, and only then is the block
noted in `progress.json`; when all is there, the folder gets its final name.
"""

import errno
import io
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from convlens.data.splits.image_index import Listing
from convlens.errors import InputError
from convlens.io.atomic import write_json

BLOCK = 256  # images between two notes of progress: what a killed build decodes again at most


def build(listing: Listing, size: int, folder: Path) -> None:
    """Decodes a listing into `folder`; the caller holds the lock.

    Raises:
        InputError: The disk is full, or will be. Nothing stays behind then.
    """
    partial = Path(f"{folder}.partial")
    progress = _read_progress(partial)
    _check_room(listing, size, folder.parent, progress["done"])
    try:
        partial.mkdir(exist_ok=True)
        _write_images(listing, size, partial, progress)
        meta = {"title": listing.title, "size": size, "rule": listing.rule, "images": len(listing)}
        unreadable = [{"row": row, "name": listing.names[row], "reason": why} for row, why in progress["unreadable"]]
        write_json(partial / "meta.json", {**meta, "unreadable": unreadable})
        (partial / "progress.json").unlink()
    except (OSError, InputError) as error:
        if not _is_full(error):
            raise
        shutil.rmtree(partial)
        raise _no_room(listing, size, folder.parent) from error
    partial.rename(folder)


def _read_progress(partial: Path) -> dict[str, Any]:
    """How many images are done, and the (row, reason) pairs of the unreadable ones among them."""
    try:
        return json.loads((partial / "progress.json").read_text())
    except (OSError, ValueError):
        return {"done": 0, "unreadable": []}


def _write_images(listing: Listing, size: int, partial: Path, progress: dict[str, Any]) -> None:
    """Appends the missing rows to images.npy, block by block; `progress` is brought up to date.

    The file is written, not mapped: on a full disk a write fails with an error, a map kills the process.
    """
    header = _npy_header((len(listing), 3, size, size))
    description = f"{listing.title} to {size} px"
    with (
        open(partial / "images.npy", "r+b" if progress["done"] else "wb") as file,
        tqdm(total=len(listing), initial=progress["done"], desc=description, unit="img", disable=None) as bar,
    ):
        if not progress["done"]:
            file.write(header)
        file.truncate(len(header) + progress["done"] * 3 * size**2)
        file.seek(0, io.SEEK_END)
        starts = range(progress["done"], len(listing), BLOCK)
        ranges = [range(start, min(start + BLOCK, len(listing))) for start in starts]
        for rows, block in zip(ranges, listing.blocks(ranges, size), strict=True):
            file.write(block.images.data)
            file.flush()
            os.fsync(file.fileno())
            progress["done"] = rows.stop
            progress["unreadable"] += [[rows.start + place, reason] for place, reason in block.unreadable.items()]
            write_json(partial / "progress.json", progress)
            bar.update(len(rows))


def _npy_header(shape: tuple[int, ...]) -> bytes:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return header.getvalue()


def _check_room(listing: Listing, size: int, cache_dir: Path, done: int) -> None:
    if (len(listing) - done) * 3 * size**2 > shutil.disk_usage(cache_dir).free:
        raise _no_room(listing, size, cache_dir)


def _no_room(listing: Listing, size: int, cache_dir: Path) -> InputError:
    need, free = len(listing) * 3 * size**2, shutil.disk_usage(cache_dir).free
    return InputError(
        f"no room for the decoded images of {listing.title}: {len(listing)} squares of {size} px need {need:,} bytes "
        f"in {cache_dir}, {free:,} are free; set cache_dir to a larger disk, or a smaller image_size or limit"
    )


def _is_full(error: Exception) -> bool:
    """Whether an error, or what it was made from, says that there is no room."""
    return getattr(error.__cause__ or error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
