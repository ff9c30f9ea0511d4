"""Building the cache of decoded images block by block, so that a killed build continues where it stopped.

The build happens in ``<folder>.partial``. The pixels of each block are forced to the disk before the block is recorded
in ``progress.json``; the folder gets its final name when it is complete.
"""

import io
import logging
import os
import shutil
import zlib
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from convlens.data.splits.image_index import ImageIndex
from convlens.errors import InputError
from convlens.io.arrays import file_crc, seal
from convlens.io.inside import check_inside
from convlens.io.json_files import read_json, write_json
from convlens.io.resources import is_disk_full

log = logging.getLogger(__name__)
BLOCK = 256
"""Images between two records of progress: the most that a killed build decodes again."""


@dataclass
class _Progress:
    """Number of finished images, the (row, reason) pairs of the unreadable ones among them, and the file's CRC-32."""

    done: int = 0
    unreadable: list[tuple[int, str]] = field(default_factory=list)
    crc: int = 0


def build(image_index: ImageIndex, size: int, folder: Path) -> None:
    """Decode all images of an index into ``folder``; the caller holds the folder's lock.

    Raises:
        InputError: the disk is full or too small; nothing is left behind. Or a file is a link out of the folder.
    """
    partial = Path(f"{folder}.partial")
    check_inside(partial / "images.npy", partial)
    progress = _read_progress(partial, len(_npy_header(image_index, size)), 3 * size**2)
    _check_free_space(image_index, size, folder.parent, progress.done)
    try:
        partial.mkdir(exist_ok=True)
        _write_images(image_index, size, partial, progress)
        meta = {
            "title": image_index.title,
            "size": size,
            "decode_version": image_index.decode_version,
            "images": len(image_index),
            "unreadable": [
                {"row": row, "name": image_index.names[row], "reason": reason} for row, reason in progress.unreadable
            ],
        }
        seal(partial / "images.npy", progress.crc)
        write_json(partial / "meta.json", meta)
        (partial / "progress.json").unlink()
    except (OSError, InputError) as error:
        if not is_disk_full(error.__cause__ or error):
            raise
        shutil.rmtree(partial)
        raise _disk_too_small(image_index, size, folder.parent) from error
    partial.rename(folder)


def _read_progress(partial: Path, header: int, image: int) -> _Progress:
    """Return the progress of an earlier build; none if its pixels are not as they were written.

    Args:
        partial: folder of the build.
        header: bytes before the first image.
        image: bytes of an image.
    """
    record = read_json(partial / "progress.json")
    if "crc" not in record:
        return _Progress()
    end = header + record["done"] * image
    try:
        whole = file_crc(partial / "images.npy", end) == record["crc"]
    except OSError:
        whole = False
    if not whole:
        log.warning("the unfinished cache %s is damaged: it is begun again", partial)
        return _Progress()
    return _Progress(record["done"], [(row, reason) for row, reason in record["unreadable"]], record["crc"])


def _write_images(image_index: ImageIndex, size: int, partial: Path, progress: _Progress) -> None:
    """Append the missing rows to images.npy block by block, and update ``progress``.

    The file is written, not mapped: on a full disk a write raises an error, while a map kills the process.
    """
    header = _npy_header(image_index, size)
    description = f"{image_index.title} to {size} px"
    with (
        open(partial / "images.npy", "r+b" if progress.done else "wb") as file,
        tqdm(total=len(image_index), initial=progress.done, desc=description, unit="img", disable=None) as bar,
    ):
        if not progress.done:
            file.write(header)
            progress.crc = zlib.crc32(header)
        file.truncate(len(header) + progress.done * 3 * size**2)
        file.seek(0, io.SEEK_END)
        starts = range(progress.done, len(image_index), BLOCK)
        ranges = [range(start, min(start + BLOCK, len(image_index))) for start in starts]
        for rows, block in zip(ranges, image_index.blocks(ranges, size), strict=True):
            file.write(block.images.data)
            file.flush()
            os.fsync(file.fileno())
            progress.done, progress.crc = rows.stop, zlib.crc32(block.images.data, progress.crc)
            progress.unreadable += [(rows.start + row, reason) for row, reason in block.unreadable.items()]
            write_json(partial / "progress.json", asdict(progress))
            bar.update(len(rows))


def _npy_header(image_index: ImageIndex, size: int) -> bytes:
    header, shape = io.BytesIO(), (len(image_index), 3, size, size)
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return header.getvalue()


def _check_free_space(image_index: ImageIndex, size: int, cache_dir: Path, done: int) -> None:
    if (len(image_index) - done) * 3 * size**2 > shutil.disk_usage(cache_dir).free:
        raise _disk_too_small(image_index, size, cache_dir)


def _disk_too_small(image_index: ImageIndex, size: int, cache_dir: Path) -> InputError:
    needed, free = len(image_index) * 3 * size**2, shutil.disk_usage(cache_dir).free
    return InputError(
        f"no room for the decoded images of {image_index.title}: {len(image_index)} squares of {size} px need "
        f"{needed:,} bytes in {cache_dir}, {free:,} are free; set cache_dir to a larger disk, or a smaller image_size "
        "or limit"
    )
