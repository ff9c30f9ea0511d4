"""Interfaces of the images that galleries read: a data set, batches of it and a data module."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from jaxtyping import Float, UInt8
from torch import Tensor
from torch.utils.data import DataLoader

Item = Tensor | Sequence[Tensor]
"""An image or a batch of images: alone, or before its label or labels."""
Batches = Iterable[object]
"""Batches of images [n, c, h, w], each alone or before its labels, as a user's loader gives them: not checked yet."""


@runtime_checkable
class ImageDataset(Protocol):
    """A data set whose items are images [c, h, w], each alone or before its label."""

    def __len__(self) -> int:
        """Return the number of images."""
        ...

    def __getitem__(self, index: int, /) -> Item:
        """Return an image, alone or before its label."""
        ...


@runtime_checkable
class LabelledImages(ImageDataset, Protocol):
    """A split of a decoded data set with the label of each image."""

    path: Path
    labels: Tensor

    def __getitems__(self, keys: Sequence[int], /) -> tuple[Float[Tensor, "n c h w"], Tensor]:
        """Return a batch of images and their labels."""
        ...


@runtime_checkable
class GalleryData(Protocol):
    """The data module of a network, as `convlens.data.ImageData`."""

    image_size: int
    stored_size: int
    std: Tensor

    @property
    def mean(self) -> Float[Tensor, "3 h w"]:
        """The mean image that is subtracted from each image."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes by label."""
        ...

    def dataset(self, split: str, view: str = ..., limit: int | None = ..., /) -> LabelledImages:
        """Return the images of a split."""
        ...

    def plain_dataloader(self, split: str, limit: int | None = ..., shares: int = ..., /) -> DataLoader[Item]:
        """Return batches of the images of a split in order, without augmentation."""
        ...

    def image_id(self, split: str, index: int, /) -> str:
        """Return the name of an image of a split."""
        ...

    def to_display(self, images: Float[Tensor, "n 3 h w"], /) -> UInt8[Tensor, "n 3 h w"]:
        """Convert images as the network reads them to pixel values 0..255."""
        ...


def image_at(dataset: ImageDataset, index: int) -> Float[Tensor, "c h w"]:
    """Return an image of a data set without its label."""
    item = dataset[index]
    return item if isinstance(item, Tensor) else item[0]
