"""The built-in `parts` images: rendered instead of decoded, then kept in the same cache."""

import ctypes
import multiprocessing
import signal
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from convlens.data.sources.base import Source
from convlens.data.splits.image_index import Block, Listing, cores
from convlens.data.splits.split import Split
from convlens.data.synthetic import dataset as parts
from convlens.data.synthetic.dataset import CLASS_NAMES, PART_NAMES, label_of, render_images, render_scene
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
        return _draw(self._indices(rows), self.seed, size)

    def blocks(self, ranges: Iterable[range], size: int) -> Iterator[Block]:
        """Renders in as many processes as there are cores, at most two blocks for each in advance.

        Only on Linux, where a process can be split off at once: elsewhere each would first import all the libraries,
        which takes longer than the few thousand images.

        Raises:
            InputError: One of the processes was killed.
        """
        tasks = [(self._indices(rows), self.seed, size) for rows in ranges]
        processes = min(cores(), len(tasks))
        if processes < 2 or sys.platform != "linux":
            yield from (_draw(*task) for task in tasks)
            return
        pool = ProcessPoolExecutor(processes, multiprocessing.get_context("fork"), _follow_parent)
        waiting: deque[Future[Block]] = deque()
        try:
            for task in tasks:
                waiting.append(pool.submit(_draw, *task))
                if len(waiting) == 2 * processes:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise InputError(
                f"a process that draws the images of {self.title} was killed, perhaps for want of memory: "
                "start again, what is done is kept"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)

    def regions(self, row: int, size: int) -> dict[str, Bool[np.ndarray, "size size"]]:
        """Exact masks of the creature and of the parts that it has."""
        (index,) = self._indices([row])
        scene = render_scene(index, seed=self.seed, size=size)
        masks = {name: mask.numpy() for name, mask in zip(PART_NAMES, scene.masks, strict=True) if mask.any()}
        return {"object": scene.object_mask.numpy(), **masks}

    def _indices(self, rows: Sequence[int]) -> list[int]:
        return [int(self.names[row].rpartition("/")[2]) for row in rows]


def _follow_parent() -> None:
    """Leaves Ctrl-C to the parent, and has the system end this process when the parent dies, however it dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def _draw(indices: Sequence[int], seed: int, size: int) -> Block:
    images, _ = render_images(indices, seed=seed, size=size)
    return Block(images.numpy(), {})


class PartsImages(Source):
    """`train` + `test` rendered images of creatures with parts, in the classes of `convlens.data.synthetic.dataset`.

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
