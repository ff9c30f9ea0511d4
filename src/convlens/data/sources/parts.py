"""The built-in `parts` images: rendered instead of decoded, then kept in the same cache."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np

from convlens.data import parts
from convlens.data.listing import Block, Listing
from convlens.data.parts import CLASS_NAMES, label_of, render_images
from convlens.data.sources.base import Source
from convlens.data.splits import Split
from convlens.errors import InputError

_TEST_START = 1_000_000  # first index of a test image, whatever the number of training images


@dataclass(frozen=True, eq=False)
class RenderedListing(Listing):
    """Images that are drawn from a seed and an index; the name is parts/<index>."""

    seed: int

    @property
    def rule(self) -> str:
        """A hash of the renderer's own source, so that a change of it draws the images again."""
        folder = Path(parts.__file__).parent
        sources = (path.read_bytes() for path in sorted(folder.glob("parts*.py")))
        return blake2b(b"".join(sources), digest_size=8).hexdigest()

    def states(self) -> Iterator[str]:
        """The seed: the index is in the name."""
        return (str(self.seed) for _ in self.names)

    def read(self, rows: Sequence[int], size: int) -> Block:
        """Renders at `size` pixels."""
        images, _ = render_images([_index(self.names[row]) for row in rows], seed=self.seed, size=size)
        return Block(images.numpy(), {})


class PartsImages(Source):
    """`train` + `test` rendered images of creatures with parts, in the classes of `convlens.data.parts`.

    Training and test images have different indices whatever their numbers; `seed` is that of the images, not of a run.
    """

    def __init__(self, seed: int = 0, train: int = 4000, test: int = 1000) -> None:
        if not (len(CLASS_NAMES) <= train <= _TEST_START and test >= 1):
            raise InputError(
                f"parts with train={train}, test={test}: train from {len(CLASS_NAMES)} (one of each class) "
                f"to {_TEST_START}, test at least 1"
            )
        self.seed = seed
        self.starts = {"train": range(train), "test": range(_TEST_START, _TEST_START + test)}

    def class_names(self) -> tuple[str, ...]:
        """Names of the creatures."""
        return CLASS_NAMES

    def split(self, name: str) -> Split | None:
        """Images of this split's own range of indices."""
        if name == "val":
            return None
        indices = self.starts[name]
        names = [f"parts/{index}" for index in indices]
        labels = np.array([label_of(index, seed=self.seed) for index in indices], np.int64)
        return Split(RenderedListing("parts", names, labels, self.seed), np.arange(len(indices)))


def _index(name: str) -> int:
    return int(name.rpartition("/")[2])
