"""The DataModule of images: a source, its decoded cache, and the paper's preprocessing (Sec. 3)."""

import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import lightning as L
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.utils.data import DataLoader

from convlens.data.cache.pool import Pool, cache_pool
from convlens.data.cache.split_rows import (
    ON_CORRUPT,
    CachedSplit,
    OnCorrupt,
    cache_splits,
    check_all_classes,
    concat_splits,
    select_rows,
    source_splits,
)
from convlens.data.decode import RESIZE_MODES, ResizeMode
from convlens.data.loading.crops import NUM_CROPS, centre_window, default_stored_size
from convlens.data.loading.dataset import CachedImages, JoinedImages
from convlens.data.loading.loaders import Batch, DistributedContext, make_loader
from convlens.data.sources.base import Source
from convlens.data.sources.exclude import read_exclusions
from convlens.data.splits.protocol import Protocol
from convlens.data.splits.split import Split
from convlens.data.validate import channels, check_choice, check_numbers, mean_image
from convlens.errors import InputError
from convlens.io.names import readable

log = logging.getLogger(__name__)


class ImageData(L.LightningDataModule):
    """Images of a source as batches of (pixel - mean) / std (float32 [n, 3, c, c]) and labels (int64 [n]).

    The splits are ``train``, ``val`` and ``test``; ``val`` is the source's own or a seeded share of each class of the
    training images, and ImageNet's validation images are ``test``. Each split has a fixed order in which every prefix
    is spread over the classes; an index is a position in it. Split ``all`` is the three splits one after the other.

    Args:
        source: names classes and images.
        cache_dir: folder for the decoded images, 3 x stored_size^2 bytes each.
        image_size: side of a crop in pixels.
        stored_size: side in pixels of the square to which images are scaled before they are cropped; None is the
            paper's proportion of 256 to 224.
        resize_mode: how an oblong image becomes a square: ``crop`` (the centre, as in the paper) or ``squeeze`` (all
            of it, out of proportion).
        mean: what is subtracted, in pixel values of 0 to 255: ``train`` (the mean image of the training images, as in
            the paper), an npy file with such an image ([3, stored_size, stored_size]), one number, or three.
        std: divisor after that: one number or three. 1 keeps the paper's range of about -128 to 128.
        batch_size: images in a batch; test batches with ten views hold a tenth of them.
        train_crops: ``random`` (any position) or ``ten_fixed`` (corners and centre), mirrored or not; the paper
            mentions both.
        test_views: 10 (corners and centre, each also mirrored: batches [n, 10, 3, c, c]) or 1 (centre).
        val_share: share of the training images for ``val``, from 0 to below 1.
        seed: determines ``val``, the order of each epoch and the crops.
        num_workers: worker processes that make batches.
        on_corrupt: ``skip`` leaves unreadable images out and logs them, ``fatal`` raises an error.
        limit: largest number of images in each split, for quick runs; only these are decoded. Protocols ignore it.
        exclude: text file with the names (as in ``image_id``) of images to leave out of all splits and protocols, one a
            line; what follows a tab is ignored. ``task=duplicates`` writes such files.
        download: whether to download the data set if it is missing and has public archives.

    Raises:
        InputError: a value is out of range.
    """

    def __init__(
        self,
        source: Source,
        *,
        cache_dir: str | Path,
        image_size: int = 224,
        stored_size: int | None = None,
        resize_mode: ResizeMode = "crop",
        mean: float | Sequence[float] | str = "train",
        std: float | Sequence[float] = 1.0,
        batch_size: int = 128,
        train_crops: Literal["random", "ten_fixed"] = "random",
        test_views: Literal[1, 10] = 10,
        val_share: float = 0.1,
        seed: int = 0,
        num_workers: int = 0,
        on_corrupt: OnCorrupt = "skip",
        limit: int | None = None,
        exclude: str | Path | None = None,
        download: bool = False,
    ) -> None:
        super().__init__()
        check_choice("resize_mode", resize_mode, RESIZE_MODES)
        check_choice("train_crops", train_crops, ("random", "ten_fixed"))
        check_choice("test_views", test_views, (1, NUM_CROPS))
        check_choice("on_corrupt", on_corrupt, ON_CORRUPT)
        check_numbers(image_size, stored_size, batch_size, num_workers, limit, val_share)
        self._source, self.download = source, download
        self.cache_dir = Path(cache_dir).expanduser()
        self.image_size, self.stored_size = image_size, stored_size or default_stored_size(image_size)
        self.resize_mode, self.on_corrupt = resize_mode, on_corrupt
        self._fixed_mean = None if mean == "train" else mean_image(mean, self.stored_size)
        self.std = channels("std", std)
        if not (self.std > 0).all():
            raise InputError(f"data.std is {std}: give numbers above 0")
        self.batch_size, self.train_crops, self.test_views = batch_size, train_crops, test_views
        self.val_share, self.seed, self.limit, self.num_workers = val_share, seed, limit, num_workers
        self.excluded = read_exclusions(exclude)
        self.eval_split = "test"
        self.eval_limit: int | None = None
        self._splits: dict[str, CachedSplit] = {}

    @cached_property
    def source(self) -> Source:
        """The source, downloaded if ``download`` is true."""
        if self.download:
            self._source.download()
        return self._source

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes; no image is decoded."""
        return tuple(map(readable, self.source.class_names()))

    @property
    def num_classes(self) -> int:
        """Number of classes; no image is decoded."""
        return len(self.class_names)

    def setup(self, stage: str | None = None) -> None:
        """Cache all splits at any stage, so that errors in them appear before training."""
        if not self._splits:
            splits, whole = self.splits(), self.limit is None
            size, folder = self.stored_size, self.cache_dir
            self._splits = cache_splits(splits, size, folder, whole=whole, on_corrupt=self.on_corrupt)
            counts = ", ".join(f"{len(split.rows)} {name}" for name, split in self._splits.items())
            log.info("%s: %s images in %d classes", splits["train"].image_index.title, counts, self.num_classes)
        if stage == "fit" and self.limit is None:
            check_all_classes(self._splits["train"], self.class_names)

    def splits(self) -> dict[str, Split]:
        """Return the rows of each split; no image is decoded."""
        own = source_splits(self.source, resize_mode=self.resize_mode, excluded=self.excluded)
        return select_rows(own, val_share=self.val_share, seed=self.seed, limit=self.limit)

    def count(self, split: str) -> int:
        """Return the number of images in a split."""
        return len(self.cached_split(split).rows)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return shuffled batches with the crops of ``train_crops``, which differ between epochs."""
        return self._loader(self.dataset("train", self.train_crops), self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[Batch] | list[Batch]:
        """Return the centre crops; an empty list without validation images."""
        dataset = self.dataset("val", "centre")
        return self._loader(dataset, self.batch_size, shuffle=False) if len(dataset) else []

    def test_dataloader(self) -> DataLoader[Batch]:
        """Return ``test_views`` crops of the first ``eval_limit`` images of ``eval_split``."""
        return self.eval_dataloader(self.eval_split, self.eval_limit)

    def eval_dataloader(self, split: str, limit: int | None = None) -> DataLoader[Batch]:
        """Return ``test_views`` crops ([n, 10, 3, c, c] or [n, 3, c, c]) of the first ``limit`` images of a split."""
        dataset = self.dataset(split, "centre" if self.test_views == 1 else "ten", limit)
        return self._loader(dataset, max(1, self.batch_size // self.test_views), shuffle=False)

    def plain_dataloader(self, split: str, limit: int | None = None, shares: int = 1) -> DataLoader[Batch]:
        """Return the centre crops of the first ``limit`` images of a split in order, in at least ``shares`` batches."""
        dataset = self.dataset(split, "centre", limit)
        return self._loader(dataset, max(1, min(self.batch_size, len(dataset) // shares)), shuffle=None)

    def dataset(self, split: str, view: str = "centre", limit: int | None = None) -> CachedImages:
        """Return the first ``limit`` images of a split as a torch data set; for the views see ``CachedImages``."""
        cache, rows = self.cached_split(split)
        return self._dataset(CachedSplit(cache, rows[:limit]), view)

    @property
    def protocol(self) -> Protocol:
        """Training and test images of classifiers on features; all images are decoded to leave out unreadable ones."""
        return self.pool.protocol

    def pool_dataloader(self, view: Literal["centre", "ten"] = "centre", start: int = 0) -> DataLoader[Batch]:
        """Return all images of the protocol's pool from row ``start`` on, in order; ``ten`` crops are [n, 10, 3, c, c].

        Unreadable images are included and black, so that a row is that of ``protocol``, whose splits lack them.
        """
        dataset = JoinedImages([self._dataset(part, view) for part in self.pool.starting_at(start)])
        batch_size = max(1, self.batch_size // NUM_CROPS) if view == "ten" else self.batch_size
        return self._loader(dataset, batch_size, shuffle=None)

    def image_id(self, split: str, index: int) -> str:
        """Return an image's name: its path below the root of the data set, or such as ``parts/123``."""
        cache, rows = self.cached_split(split)
        return cache.image_index.names[rows[index]]

    def regions(self, split: str, index: int) -> dict[str, Bool[Tensor, "c c"]]:
        """Return masks of an image's centre crop: ``object`` and its parts; empty for data without annotations."""
        cache, rows = self.cached_split(split)
        inside = centre_window(self.stored_size, self.image_size)
        masks = cache.image_index.regions(int(rows[index]), self.stored_size)
        return {name: torch.from_numpy(mask[inside, inside].copy()) for name, mask in masks.items()}

    @property
    def mean(self) -> Float[Tensor, "3 c c"]:
        """Mean image of a centre crop."""
        inside = centre_window(self.stored_mean.shape[-1], self.image_size)
        return self.stored_mean[:, inside, inside]

    def to_display(self, images: Float[Tensor, "n 3 c c"]) -> UInt8[Tensor, "n 3 c c"]:
        """Convert normalized centre crops back to pixel values."""
        pixels = images * self.std[:, None, None].to(images) + self.mean.to(images)
        return pixels.round().clamp(0, 255).to(torch.uint8)

    @cached_property
    def stored_mean(self) -> Float[Tensor, "3 s s"]:
        """Mean image of the stored squares, from which each crop's mean is cut."""
        if self._fixed_mean is not None:
            return self._fixed_mean
        cache, rows = self.cached_split("train")
        return cache.mean(rows)

    @cached_property
    def pool(self) -> Pool:
        """The protocol with the cached images of its pool."""
        size, folder = self.stored_size, self.cache_dir
        return cache_pool(self.source, size, folder, self.resize_mode, self.excluded, self.on_corrupt)

    def cached_split(self, name: str) -> CachedSplit:
        """Return the cached rows of a split, or of all of them for ``all``.

        Raises:
            InputError: there is no such split.
        """
        self.setup()
        check_choice("split", name, (*self._splits, "all"))
        return self._splits[name] if name != "all" else concat_splits(self._splits)

    def _dataset(self, split: CachedSplit, view: str) -> CachedImages:
        labels = torch.from_numpy(split.labels)
        mean, std, size = self.stored_mean, self.std, self.image_size
        return CachedImages(split.cache.pixels_path, split.rows, labels, mean, std, size, view)

    def _loader(self, dataset: CachedImages | JoinedImages, size: int, *, shuffle: bool | None) -> DataLoader[Batch]:
        context = DistributedContext.from_trainer(self.trainer)
        return make_loader(dataset, size, context, shuffle=shuffle, seed=self.seed, num_workers=self.num_workers)
