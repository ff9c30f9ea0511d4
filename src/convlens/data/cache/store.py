"""The cache of decoded images: one memory-mapped array of bytes, so that no image is decoded twice.

    <cache_dir>/<title>-<size>-<key>/images.npy      uint8 [n, 3, size, size]; a batch of rows is ready for use
                                     meta.json       what the cache holds, and the unreadable images with reasons
                                     mean-<key>.npy  float32 [3, size, size], mean image of the rows hashed in its key

The key of the folder is a hash of names, labels, file sizes and times, and of the rule that makes the pixels.
"""

import json
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock, Timeout
from jaxtyping import Float, Int64
from torch import Tensor
from tqdm import tqdm

from convlens.data.cache.build import build
from convlens.data.splits.image_index import Listing
from convlens.errors import InputError
from convlens.io.atomic import replacing

log = logging.getLogger(__name__)
_ROWS_AT_ONCE = 256


@dataclass(frozen=True, eq=False)
class CachedArrays:
    """A finished cache.

    Attributes:
        folder: Where it is.
        listing: The images it was made from; row i of the array is image i of the listing.
        size: Side of the stored squares in pixels.
        unreadable: Reason for each row that could not be decoded, and is black.
    """

    folder: Path
    listing: Listing
    size: int
    unreadable: dict[int, str]

    @property
    def images(self) -> Path:
        """The file with the pixels."""
        return self.folder / "images.npy"

    def usable(self, rows: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " k"]:
        """The rows without the unreadable ones, in the same order."""
        return rows[~np.isin(rows, list(self.unreadable))]

    def mean(self, rows: Int64[np.ndarray, " n"]) -> Float[Tensor, "3 s s"]:
        """Mean image of some rows; computed once for each set of rows, then read from a file beside the images."""
        rows = np.unique(rows)
        path = self.folder / f"mean-{_digest([rows.tobytes()])}.npy"
        if path.is_file():
            return torch.from_numpy(np.load(path))
        mean = self._mean(rows)
        try:
            with replacing(path) as temporary, open(temporary, "wb") as file:
                np.save(file, mean)
        except (OSError, InputError) as error:
            log.warning("the mean image is not kept: %s", error)
        return torch.from_numpy(mean)

    def _mean(self, rows: Int64[np.ndarray, " n"]) -> Float[np.ndarray, "3 s s"]:
        images = np.load(self.images, mmap_mode="r")
        total = np.zeros(images.shape[1:], np.uint64)
        with tqdm(total=len(rows), desc="mean image", unit="img", disable=None) as bar:
            for start in range(0, len(rows), _ROWS_AT_ONCE):
                chunk = images[rows[start : start + _ROWS_AT_ONCE]]
                total += chunk.sum(axis=0, dtype=np.uint32)
                bar.update(len(chunk))
        return (total / len(rows)).astype(np.float32)


def pack(listing: Listing, size: int, cache_dir: Path) -> CachedArrays:
    """The cache of a listing, built if it is not there yet.

    Several processes may ask at once: one builds, the others wait for it. A build that was killed goes on where it
    was, when it is asked for again.

    Raises:
        InputError: The cache folder cannot be written, or has no room.
    """
    folder = cache_dir / f"{listing.title}-{size}-{cache_key(listing, size)}"
    if not folder.is_dir():
        try:
            cache_dir.mkdir(parents=True, exist_ok=True)
            with _locked(folder):
                if not folder.is_dir():
                    build(listing, size, folder)
        except OSError as error:
            raise InputError(
                f"the cache folder {cache_dir} cannot be used ({error.strerror or error}): "
                "set cache_dir to a folder that you may write to"
            ) from error
    return _open(folder, listing, size)


def cache_key(listing: Listing, size: int) -> str:
    """A hash of what the pixels depend on, whatever folder the data set lies in."""
    rows = zip(listing.names, listing.labels.tolist(), listing.states(), strict=True)
    lines = (f"{name}\t{label}\t{state}\n".encode() for name, label, state in rows)
    return _digest([f"{size} {listing.rule}\n".encode(), *lines])


def _digest(chunks: Iterable[bytes]) -> str:
    digest = blake2b(digest_size=8)
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Holds the lock of one cache; the operating system frees it when a process dies."""
    lock = FileLock(f"{folder}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info("another process is building %s: waiting for it", folder)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _open(folder: Path, listing: Listing, size: int) -> CachedArrays:
    try:
        meta = json.loads((folder / "meta.json").read_text())
        shape = np.load(folder / "images.npy", mmap_mode="r").shape
    except (OSError, ValueError) as error:
        raise InputError(f"the cache {folder} is damaged ({error}): delete it, it will be built again") from error
    if shape != (len(listing), 3, size, size):
        raise InputError(f"the cache {folder} is damaged (images of shape {shape}): delete it, it will be built again")
    return CachedArrays(folder, listing, size, {entry["row"]: entry["reason"] for entry in meta["unreadable"]})
