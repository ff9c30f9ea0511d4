"""The built-in ``parts`` images as a source: rendered instead of decoded, then kept in the same cache."""

import ctypes
import multiprocessing
import signal
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from convlens.data.sources.base import Source
from convlens.data.splits.image_index import Block, ImageIndex, num_cores
from convlens.data.splits.split import Split
from convlens.data.synthetic.dataset import (
    CLASS_NAMES,
    DRAWING_VERSION,
    PART_NAMES,
    label_of,
    render_images,
    render_scene,
)
from convlens.errors import InputError

_TEST_START = 1_000_000
"""First index of a test image, for any number of training images."""


@dataclass(frozen=True, eq=False, repr=False)
class RenderedIndex(ImageIndex):
    """Images rendered from a seed and an index; the name is ``parts/<index>``."""

    seed: int

    @property
    def decode_version(self) -> str:
        """Version of the drawing code."""
        return DRAWING_VERSION

    def file_states(self) -> Iterator[str]:
        """Yield the seed for each image; the index is in the name."""
        return (str(self.seed) for _ in self.names)

    def read(self, rows: Sequence[int], size: int) -> Block:
        """Render some rows at ``size`` pixels."""
        return _render(self._indices(rows), self.seed, size)

    def blocks(self, ranges: Iterable[range], size: int) -> Iterator[Block]:
        """Render in as many processes as there are cores, at most two blocks each in advance.

        Only on Linux, where a process can be forked at once: elsewhere each would import all libraries first, which
        takes longer than rendering a few thousand images.

        Raises:
            InputError: one of the processes was killed.
        """
        tasks = [(self._indices(rows), self.seed, size) for rows in ranges]
        num_processes = min(num_cores(), len(tasks))
        if num_processes < 2 or sys.platform != "linux":
            yield from (_render(*task) for task in tasks)
            return
        pool = ProcessPoolExecutor(num_processes, multiprocessing.get_context("fork"), _exit_with_parent)
        pending: deque[Future[Block]] = deque()
        try:
            for task in tasks:
                pending.append(pool.submit(_render, *task))
                if len(pending) == 2 * num_processes:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BrokenProcessPool as error:
            raise InputError(
                f"a process that renders the images of {self.title} was killed, perhaps for lack of memory: "
                "start again, finished images are kept"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)

    def regions(self, row: int, size: int) -> dict[str, Bool[np.ndarray, "size size"]]:
        """Return exact masks of the creature and of the parts that it has."""
        (index,) = self._indices([row])
        scene = render_scene(index, seed=self.seed, size=size)
        masks = {name: mask.numpy() for name, mask in zip(PART_NAMES, scene.masks, strict=True) if mask.any()}
        return {"object": scene.object_mask.numpy(), **masks}

    def _indices(self, rows: Sequence[int]) -> list[int]:
        return [int(self.names[row].rpartition("/")[2]) for row in rows]


def _exit_with_parent() -> None:
    """Ignore SIGINT in a worker and exit when the parent process exits."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def _render(indices: Sequence[int], seed: int, size: int) -> Block:
    images, _ = render_images(indices, seed=seed, size=size)
    return Block(images.numpy(), {})


class PartsImages(Source):
    """Rendered images of creatures with parts, in the classes of ``convlens.data.synthetic.dataset``.

    Args:
        seed: seed of the images, not of a run.
        train: number of training images.
        test: number of test images; their indices differ from those of training images for any numbers.

    Raises:
        InputError: a number is out of range.
    """

    def __init__(self, seed: int = 0, train: int = 4000, test: int = 1000) -> None:
        if not (len(CLASS_NAMES) <= train <= _TEST_START and 1 <= test <= _TEST_START):
            raise InputError(
                f"data.source.train={train}, data.source.test={test}: give train from {len(CLASS_NAMES)} (one of each "
                f"class) to {_TEST_START}, test from 1 to {_TEST_START}"
            )
        self.seed = seed
        self.ranges = {"train": range(train), "test": range(_TEST_START, _TEST_START + test)}

    def class_names(self) -> tuple[str, ...]:
        """Return the names of the creatures."""
        return CLASS_NAMES

    def split(self, name: str) -> Split | None:
        """Return the images of a split's range of indices."""
        if name == "val":
            return None
        indices = self.ranges[name]
        names = [f"parts/{index}" for index in indices]
        labels = np.array([label_of(index, seed=self.seed) for index in indices], np.int64)
        return Split(RenderedIndex("parts", names, labels, self.seed), np.arange(len(indices)))
