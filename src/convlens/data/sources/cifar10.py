"""CIFAR-10: 10 classes at 32 x 32 pixels, read by torchvision."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8
from PIL import Image
from torchvision.datasets import CIFAR10

from convlens.data import decode as decoding
from convlens.data.download.catalog import CIFAR_10
from convlens.data.sources.base import Source
from convlens.data.splits.image_index import Block, Listing
from convlens.data.splits.split import Split
from convlens.errors import InputError

_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@dataclass(frozen=True, eq=False)
class ArrayListing(Listing):
    """Images that are an array already; they are only brought to size."""

    pixels: UInt8[np.ndarray, "n h w 3"]

    @property
    def rule(self) -> str:
        """The rule of the decoder."""
        return decoding.rule_of(self.fit)

    def states(self) -> Iterator[str]:
        """A hash of the pixels."""
        return (blake2b(image.tobytes(), digest_size=8).hexdigest() for image in self.pixels)

    def read(self, rows: Sequence[int], size: int) -> Block:
        """Squares of `size` pixels."""
        return Block(np.stack([decoding.square(Image.fromarray(self.pixels[row]), size) for row in rows]), {})

    def take(self, rows: Int64[np.ndarray, " k"]) -> "ArrayListing":
        """The listing of some rows only."""
        names = [self.names[row] for row in rows]
        return replace(self, names=names, labels=self.labels[rows], pixels=self.pixels[rows])


class Cifar10(Source):
    """`root/cifar-10-batches-py/`, the pickled batches."""

    archives = CIFAR_10

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser()

    def class_names(self) -> tuple[str, ...]:
        """The ten classes, whether or not the images are there."""
        return _CLASSES

    def split(self, name: str) -> Split | None:
        """The official training and test images."""
        if name == "val":
            return None
        try:
            official = CIFAR10(str(self.root), train=name == "train")
        except (RuntimeError, OSError) as error:
            raise InputError(
                f"CIFAR-10: {self.root}/cifar-10-batches-py is missing, incomplete or damaged ({error}); "
                f"unpack {CIFAR10.url} there, or remove the folder: data.download=true fetches it"
            ) from error
        names = [f"{name}/{i}" for i in range(len(official))]
        listing = ArrayListing("cifar-10", names, np.array(official.targets, np.int64), official.data)
        return Split(listing, np.arange(len(listing)))
