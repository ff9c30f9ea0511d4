"""Torch data sets of cached images that return whole batches."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from convlens.data.loading.crops import centre_crop, crop_batch, fixed_positions, random_positions, ten_crops
from convlens.errors import InputError

VIEWS = ("random", "ten_fixed", "centre", "ten")
T = TypeVar("T")
Key = int | np.integer | tuple[int, int]


def identity(batch: T) -> T:
    """Return a batch unchanged; the collate function for data sets that return whole batches."""
    return batch


class CachedImages(Dataset[tuple[Tensor, Tensor]]):
    """Some rows of a cached array of images as normalized crops.

    The views are ``random`` (a random crop, mirrored or not), ``ten_fixed`` (one of the ten fixed crops at random),
    ``centre``, and ``ten`` (all ten crops, [n, 10, 3, c, c]). The first two need keys (index, random number), as an
    ``EpochSampler`` yields them. Workers receive the path only and map the file themselves.

    Args:
        path: npy file with the pixels.
        rows: rows of the array, in the order of the data set.
        labels: class of each image.
        mean: mean image to subtract, in pixel values of 0 to 255.
        std: divisor of each channel.
        image_size: side of the crops in pixels.
        view: which crops.

    Raises:
        InputError: the view is unknown.
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
            raise InputError(f"view={view!r} is unknown: choose one of {', '.join(VIEWS)}")
        self.path, self.rows, self.labels = path, rows, labels
        self.mean, self.std, self.image_size, self.view = mean, std, image_size, view
        self._unit_std = bool((std == 1).all())
        self._images: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: Key) -> tuple[Float[Tensor, "*views 3 c c"], Int64[Tensor, ""]]:
        """Return one image (or its ten crops) and its label."""
        images, labels = self.__getitems__([key])
        return images[0], labels[0]

    def __getitems__(self, keys: Sequence[Key]) -> tuple[Float[Tensor, "n *views 3 c c"], Int64[Tensor, " n"]]:
        """Return a batch of images and their labels."""
        indices = [key[0] if isinstance(key, tuple) else int(key) for key in keys]
        crops = self._crop(self.read_pixels(indices), keys)
        if not self._unit_std:
            crops.div_(self.std[:, None, None])
        return crops, self.labels[indices]

    def read_pixels(self, indices: Sequence[int]) -> UInt8[Tensor, "n 3 s s"]:
        """Return the stored squares as bytes."""
        if self._images is None:
            self._images = np.load(self.path, mmap_mode="r")
        return torch.from_numpy(self._images[self.rows[list(indices)]])

    def _crop(self, images: UInt8[Tensor, "n 3 s s"], keys: Sequence[Key]) -> Float[Tensor, "n *views 3 c c"]:
        if self.view == "centre":
            return centre_crop(images, self.mean, self.image_size)
        if self.view == "ten":
            return ten_crops(images, self.mean, self.image_size)
        pairs = [key for key in keys if isinstance(key, tuple)]
        if len(pairs) < len(keys):
            raise InputError(f"view {self.view!r} needs a random number with each index: use an EpochSampler")
        draws = np.array([draw for _, draw in pairs], np.uint64)
        positions = random_positions if self.view == "random" else fixed_positions
        return crop_batch(images, self.mean, *positions(draws, images.shape[-1], self.image_size), self.image_size)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_images": None}


class JoinedImages(Dataset[tuple[Tensor, Tensor]]):
    """Several data sets of cached images, one after the other."""

    def __init__(self, parts: Sequence[CachedImages]) -> None:
        self.parts = list(parts)
        self.starts = np.cumsum([0, *(len(part) for part in self.parts)])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getitem__(self, index: int) -> tuple[Float[Tensor, "*views 3 c c"], Int64[Tensor, ""]]:
        """Return one image (or its ten crops) and its label."""
        images, labels = self.__getitems__([index])
        return images[0], labels[0]

    def __getitems__(self, indices: Sequence[int]) -> tuple[Float[Tensor, "n *views 3 c c"], Int64[Tensor, " n"]]:
        """Return a batch of images and their labels."""
        positions = np.asarray(indices)
        parts = np.searchsorted(self.starts, positions, side="right") - 1
        order = np.argsort(parts, kind="stable")
        batches = [
            self.parts[part].__getitems__((positions[parts == part] - self.starts[part]).tolist())
            for part in np.unique(parts)
        ]
        if len(batches) == 1:
            return batches[0]
        inverse = torch.from_numpy(np.argsort(order))
        images, labels = (torch.cat(tensors) for tensors in zip(*batches, strict=True))
        return images[inverse], labels[inverse]
