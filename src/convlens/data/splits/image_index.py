"""What images there are, before any is decoded: names, labels, and how to get at the pixels."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Bool, Int64, UInt8

from convlens.data import decode as decoding
from convlens.data.decode import UnreadableImage, read_square

AnyListing = TypeVar("AnyListing", bound="Listing")


class Block(NamedTuple):
    """Some rows of a listing as pixels; a row that cannot be read is black and has a reason, by its place here."""

    images: UInt8[np.ndarray, "n 3 s s"]
    unreadable: dict[int, str]


@dataclass(frozen=True, eq=False)
class Listing(ABC):
    """Images of one data set in a fixed order.

    Attributes:
        title: Name of the data set in messages and in the name of its cache folder.
        names: What tells the images apart, such as the path below the root of the data set.
        labels: Class of each image.
        fit: How an oblong image becomes a square: `crop` (its centre) or `squeeze` (all of it, out of proportion).
    """

    title: str
    names: Sequence[str]
    labels: Int64[np.ndarray, " n"]
    fit: str = field(default="crop", kw_only=True)

    @property
    @abstractmethod
    def rule(self) -> str:
        """How pixels are made; another rule makes another cache."""

    @abstractmethod
    def states(self) -> Iterator[str]:
        """For each image something that changes when its content does."""

    @abstractmethod
    def read(self, rows: Sequence[int], size: int) -> Block:
        """Pixels of some rows as squares of `size` pixels."""

    def blocks(self, ranges: Iterable[range], size: int) -> Iterator[Block]:
        """Pixels of many rows, one block for each range of rows."""
        return (self.read(rows, size) for rows in ranges)

    def regions(self, row: int, size: int) -> dict[str, Bool[np.ndarray, "size size"]]:
        """Where things are known to be in an image, by name (``object``, its parts); empty where nothing is known."""
        return {}

    def take(self: AnyListing, rows: Int64[np.ndarray, " k"]) -> AnyListing:
        """The listing of some rows only."""
        return replace(self, names=[self.names[row] for row in rows], labels=self.labels[rows])

    def fitted(self: AnyListing, fit: str) -> AnyListing:
        """The same images, brought to a square in this way; the listing itself if it does so already."""
        return self if fit == self.fit else replace(self, fit=fit)

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True, eq=False)
class FileListing(Listing):
    """Image files below a root folder; a name is the path from there, with slashes."""

    root: Path

    @property
    def rule(self) -> str:
        """The rule of the decoder."""
        return decoding.rule_of(self.fit)

    def states(self) -> Iterator[str]:
        """Size in bytes and time of the last change."""
        for name in self.names:
            try:
                stat = os.stat(self.root / name)
            except OSError:
                yield "absent"
            else:
                yield f"{stat.st_size} {stat.st_mtime_ns}"

    def read(self, rows: Sequence[int], size: int) -> Block:
        """Decodes in as many threads as there are cores: Pillow works outside the interpreter's lock."""
        images = np.zeros((len(rows), 3, size, size), np.uint8)
        unreadable: dict[int, str] = {}

        def decode(place: int) -> None:
            try:
                images[place] = read_square(self.root / self.names[rows[place]], size, self.fit)
            except UnreadableImage as error:
                unreadable[place] = str(error)

        with ThreadPoolExecutor(cores()) as pool:
            list(pool.map(decode, range(len(rows))))
        return Block(images, dict(sorted(unreadable.items())))


def cores() -> int:
    """Cores that this process may use, which in a container or a batch job are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
