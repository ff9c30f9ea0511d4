"""Packed images as a torch data set that hands out whole batches."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from convlens.data.loading.crops import centre_crop, crop_batch, fixed_positions, random_positions, ten_crops
from convlens.errors import InputError

VIEWS = ("random", "ten_fixed", "centre", "ten")
Key = int | np.integer | tuple[int, int]


def as_is(batch: Any) -> Any:
    """The collate function: `PackedImages` returns batches already."""
    return batch


class CachedImages(Dataset[tuple[Tensor, Tensor]]):
    """Some rows of a packed array of images, seen in one way.

    Views: `random` (a random crop, mirrored or not), `ten_fixed` (one of the ten fixed crops at random), `centre`, and
    `ten` (all ten crops, [n, 10, 3, c, c]). The first two want keys (index, draw), as an `EpochSampler` gives them.
    Only the path travels to a worker process, which maps the file itself.
    """

    def __init__(
        self,
        path: Path,
        rows: Int64[np.ndarray, " n"],
        labels: Int64[Tensor, " n"],
        mean: Float[Tensor, "3 s s"],
        std: Float[Tensor, "3"],
        image_size: int,
        view: str,
    ) -> None:
        if view not in VIEWS:
            raise InputError(f"view {view!r} of a data set is unknown: choose one of {', '.join(VIEWS)}")
        self.path, self.rows, self.labels = path, rows, labels
        self.mean, self.std, self.image_size, self.view = mean, std, image_size, view
        self._unit_std = bool((std == 1).all())
        self._images: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: Key) -> tuple[Float[Tensor, "*views 3 c c"], Int64[Tensor, ""]]:
        """One image (or its ten crops) and its label."""
        images, labels = self.__getitems__([key])
        return images[0], labels[0]

    def __getitems__(self, keys: Sequence[Key]) -> tuple[Float[Tensor, "n *views 3 c c"], Int64[Tensor, " n"]]:
        """A whole batch and its labels."""
        indices = [key[0] if isinstance(key, tuple) else int(key) for key in keys]
        images = self.stored(indices)
        seen = self._seen(images, keys)
        if not self._unit_std:
            seen.div_(self.std[:, None, None])
        return seen, self.labels[indices]

    def stored(self, indices: Sequence[int]) -> UInt8[Tensor, "n 3 s s"]:
        """The stored squares, as bytes."""
        if self._images is None:
            self._images = np.load(self.path, mmap_mode="r")
        return torch.from_numpy(self._images[self.rows[list(indices)]])

    def _seen(self, images: UInt8[Tensor, "n 3 s s"], keys: Sequence[Key]) -> Float[Tensor, "n *views 3 c c"]:
        if self.view == "centre":
            return centre_crop(images, self.mean, self.image_size)
        if self.view == "ten":
            return ten_crops(images, self.mean, self.image_size)
        pairs = [key for key in keys if isinstance(key, tuple)]
        if len(pairs) < len(keys):
            raise InputError(f"view {self.view!r} needs a random draw with each index: use an EpochSampler")
        draws = np.array([draw for _, draw in pairs], np.uint64)
        positions = random_positions if self.view == "random" else fixed_positions
        return crop_batch(images, self.mean, *positions(draws, images.shape[-1], self.image_size), self.image_size)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_images": None}


class JoinedImages(Dataset[tuple[Tensor, Tensor]]):
    """Several data sets of packed images as one: an index counts through them one after the other."""

    def __init__(self, parts: Sequence[CachedImages]) -> None:
        self.parts = list(parts)
        self.starts = np.cumsum([0, *(len(part) for part in self.parts)])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getitem__(self, index: int) -> tuple[Float[Tensor, "*views 3 c c"], Int64[Tensor, ""]]:
        """One image (or its ten crops) and its label."""
        images, labels = self.__getitems__([index])
        return images[0], labels[0]

    def __getitems__(self, indices: Sequence[int]) -> tuple[Float[Tensor, "n *views 3 c c"], Int64[Tensor, " n"]]:
        """A whole batch and its labels."""
        wanted = np.asarray(indices)
        places = np.searchsorted(self.starts, wanted, side="right") - 1
        order = np.argsort(places, kind="stable")
        batches = [
            self.parts[place].__getitems__((wanted[places == place] - self.starts[place]).tolist())
            for place in np.unique(places)
        ]
        if len(batches) == 1:
            return batches[0]
        back = torch.from_numpy(np.argsort(order))
        images, labels = (torch.cat(of_parts) for of_parts in zip(*batches, strict=True))
        return images[back], labels[back]
