"""Image indexes: names and labels of a data set's images before any is decoded, and how to read their pixels."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Bool, Int64, UInt8

from convlens.data import decode
from convlens.data.decode import ResizeMode, UnreadableImageError, read_square
from convlens.errors import InputError

AnyIndex = TypeVar("AnyIndex", bound="ImageIndex")


class Block(NamedTuple):
    """Pixels of some rows of an index; unreadable rows are black and have a reason by their position in the block."""

    images: UInt8[np.ndarray, "n 3 s s"]
    unreadable: dict[int, str]


@dataclass(frozen=True, eq=False, repr=False)
class ImageIndex(ABC):
    """Images of one data set in a fixed order.

    Attributes:
        title: name of the data set in messages and in its cache folder.
        names: identifiers of the images, such as paths below the root of the data set.
        labels: class of each image.
        resize_mode: how an oblong image becomes a square: ``crop`` (its centre) or ``squeeze`` (all of it, out of
            proportion).
    """

    title: str
    names: Sequence[str]
    labels: Int64[np.ndarray, " n"]
    resize_mode: ResizeMode = field(default="crop", kw_only=True)

    @property
    @abstractmethod
    def decode_version(self) -> str:
        """Version of the rules that make the pixels; another version makes another cache."""

    @abstractmethod
    def file_states(self) -> Iterator[str]:
        """Yield for each image a text that changes when its content does."""

    @abstractmethod
    def read(self, rows: Sequence[int], size: int) -> Block:
        """Return the pixels of some rows as squares of ``size`` pixels."""

    def blocks(self, ranges: Iterable[range], size: int) -> Iterator[Block]:
        """Yield the pixels of many rows, one block for each range of rows."""
        return (self.read(rows, size) for rows in ranges)

    def regions(self, row: int, size: int) -> dict[str, Bool[np.ndarray, "size size"]]:
        """Return masks of annotated regions of an image by name (``object``, its parts); empty without annotations."""
        return {}

    def take(self: AnyIndex, rows: Int64[np.ndarray, " k"]) -> AnyIndex:
        """Return the index of some rows only."""
        return replace(self, names=[self.names[row] for row in rows], labels=self.labels[rows])

    def with_resize_mode(self: AnyIndex, resize_mode: ResizeMode) -> AnyIndex:
        """Return the same images with another resize mode; the index itself if it has that mode already."""
        return self if resize_mode == self.resize_mode else replace(self, resize_mode=resize_mode)

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.title}: {len(self)} images, {self.resize_mode})"


@dataclass(frozen=True, eq=False, repr=False)
class FileIndex(ImageIndex):
    """Image files below a root folder; a name is the path from there, with slashes."""

    root: Path

    def __post_init__(self) -> None:
        """Refuse names that lead out of the root, or that no file can have.

        Raises:
            InputError: there is one, in a list of images for example.
        """
        for name in self.names:
            if "\0" in name:
                raise InputError(f"{self.title}: {name!r} is no name of a file, which has no zero byte")
            if name.startswith("/") or (".." in name and ".." in name.split("/")):
                raise InputError(f"{self.title}: {name} leads out of {self.root}: give paths below it")

    @property
    def decode_version(self) -> str:
        """The decoder's version."""
        return decode.decode_version(self.resize_mode)

    def file_states(self) -> Iterator[str]:
        """Yield the size in bytes and the modification time of each file."""
        for name in self.names:
            try:
                stat = os.stat(self.root / name)
            except OSError:
                yield "absent"
            else:
                yield f"{stat.st_size} {stat.st_mtime_ns}"

    def read(self, rows: Sequence[int], size: int) -> Block:
        """Decode some rows in as many threads as there are cores; Pillow releases the interpreter's lock."""
        images = np.zeros((len(rows), 3, size, size), np.uint8)
        unreadable: dict[int, str] = {}

        def decode_into(row: int) -> None:
            try:
                images[row] = read_square(self.root / self.names[rows[row]], size, self.resize_mode)
            except UnreadableImageError as error:
                unreadable[row] = str(error)

        with ThreadPoolExecutor(num_cores()) as pool:
            list(pool.map(decode_into, range(len(rows))))
        return Block(images, dict(sorted(unreadable.items())))


def num_cores() -> int:
    """Return the number of cores this process may use; fewer than the machine has in a container or batch job."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
