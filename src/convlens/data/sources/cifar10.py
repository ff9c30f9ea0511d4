"""CIFAR-10: 10 classes of 32 x 32 pixel images, read by torchvision."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8
from PIL import Image
from torchvision.datasets import CIFAR10

from convlens.data import decode
from convlens.data.download.catalog import CIFAR_10
from convlens.data.sources.base import Source
from convlens.data.splits.image_index import Block, ImageIndex
from convlens.data.splits.split import Split
from convlens.errors import InputError
from convlens.io.hashing import digest_bytes

_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@dataclass(frozen=True, eq=False, repr=False)
class ArrayIndex(ImageIndex):
    """Images in an array, which are resized only."""

    pixels: UInt8[np.ndarray, "n h w 3"]

    @property
    def decode_version(self) -> str:
        """The decoder's version."""
        return decode.decode_version(self.resize_mode)

    def file_states(self) -> Iterator[str]:
        """Yield a digest of each image's pixels."""
        return (digest_bytes(image.tobytes(), size=8) for image in self.pixels)

    def read(self, rows: Sequence[int], size: int) -> Block:
        """Return the images of some rows as squares of ``size`` pixels."""
        return Block(np.stack([decode.square(Image.fromarray(self.pixels[row]), size) for row in rows]), {})

    def take(self, rows: Int64[np.ndarray, " k"]) -> "ArrayIndex":
        """Return the index of some rows only."""
        names = [self.names[row] for row in rows]
        return replace(self, names=names, labels=self.labels[rows], pixels=self.pixels[rows])


class Cifar10(Source):
    """``root/cifar-10-batches-py/``, the pickled batches of the official archive."""

    archives = CIFAR_10

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser()

    def class_names(self) -> tuple[str, ...]:
        """Return the ten classes; the images need not be there."""
        return _CLASSES

    def split(self, name: str) -> Split | None:
        """Return the official training or test images."""
        if name == "val":
            return None
        try:
            official = CIFAR10(str(self.root), train=name == "train")
        except (RuntimeError, OSError) as error:
            raise InputError(
                f"CIFAR-10: {self.root}/cifar-10-batches-py is missing, incomplete or damaged ({error}); "
                f"extract {CIFAR10.url} there, or remove the folder: data.download=true downloads it"
            ) from error
        names = [f"{name}/{i}" for i in range(len(official))]
        image_index = ArrayIndex("cifar-10", names, np.array(official.targets, np.int64), official.data)
        return Split(image_index, np.arange(len(image_index)))
