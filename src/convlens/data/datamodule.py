"""The one DataModule: a source of images, packed once, and handed out with the paper's preprocessing (Sec. 3)."""

import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import lightning as L
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.utils.data import DataLoader

from convlens.data.cache.pool import Pool, cache_pool
from convlens.data.cache.split_rows import (
    CachedSplit,
    cache_splits,
    check_training_classes,
    choose_rows,
    own_splits,
    together,
)
from convlens.data.decode import FITS
from convlens.data.loading.crops import TEN, centre_start, proportional
from convlens.data.loading.dataset import CachedImages, JoinedImages
from convlens.data.loading.loaders import loader, processes_of
from convlens.data.sources.base import Source
from convlens.data.sources.exclude import read_excluded
from convlens.data.splits.protocol import Protocol
from convlens.data.splits.split import Split
from convlens.data.validate import channels, check_choice, check_least, mean_image
from convlens.errors import InputError

log = logging.getLogger(__name__)


class ImageData(L.LightningDataModule):
    """Images of a source as batches (float32 [n, 3, c, c], labels int64 [n]), the values (pixel - mean) / std.

    The splits are `train`, `val` and `test`. `val` is the source's own or a seeded share of each class of the training
    images; what ImageNet calls validation is our `test`. Each split has a fixed order, of which every beginning is
    spread over the classes; an index means a position in it. To look at, there is also `all`, one after the other.

    Args:
        source: Names classes and images.
        cache_dir: Folder for the decoded images: 3 x stored_size^2 bytes each.
        image_size: Side of a crop in pixels.
        stored_size: Side of the square to which images are scaled before they are cropped; None is the paper's
            proportion of 256 to 224.
        fit: What of an oblong image is in that square: `crop` (the centre, the paper's way) or `squeeze` (all of it,
            out of proportion).
        mean: What is subtracted, in pixel values of 0 to 255: `train` (the mean image of the training images, the
            paper's way), a file with such an image (npy, [3, stored_size, stored_size]), or red, green and blue.
        std: What is divided by after that: one number or three. 1 keeps the paper's range of about -128 to 128.
        batch_size: Images in a batch (test batches with ten views hold a tenth, which is as much work).
        train_crops: `random` (any place) or `ten_fixed` (corners, centre), mirrored or not; the paper speaks of both.
        test_views: 10 (corners and centre, each mirrored too: batches [n, 10, 3, c, c]) or 1 (centre).
        val_share: Share of the training images for `val`, from 0 to below 1.
        seed: Decides over `val`, the order of the epochs and the crops.
        num_workers: Processes that make batches.
        corrupt: What to do with unreadable images: `skip` leaves them out and says so, `fatal` is an error.
        limit: The most images in each split, for quick runs; only these are decoded. A protocol is whole.
        exclude: Text file of images that are in no split and in no protocol's: a name (as of `image_id`) a line, what
            follows a tab is passed over. Of a test for duplicates, for one.
        download: Fetch the data set where it is not there, if it can be fetched.

    Raises:
        InputError: A value is not one of these.
    """

    def __init__(
        self,
        source: Source,
        *,
        cache_dir: str | Path,
        image_size: int = 224,
        stored_size: int | None = None,
        fit: str = "crop",
        mean: str | Sequence[float] = "train",
        std: float | Sequence[float] = 1.0,
        batch_size: int = 128,
        train_crops: str = "random",
        test_views: int = TEN,
        val_share: float = 0.1,
        seed: int = 0,
        num_workers: int = 0,
        corrupt: str = "skip",
        limit: int | None = None,
        exclude: str | Path | None = None,
        download: bool = False,
    ) -> None:
        super().__init__()
        check_choice("fit", fit, FITS)
        check_choice("train_crops", train_crops, ("random", "ten_fixed"))
        check_choice("test_views", test_views, (1, TEN))
        check_choice("corrupt", corrupt, ("skip", "fatal"))
        check_least("image_size", image_size, 1)
        check_least("batch_size", batch_size, 1)
        check_least("num_workers", num_workers, 0)
        if limit is not None:
            check_least("limit", limit, 1)
        if stored_size is not None:
            check_least("stored_size", stored_size, image_size)
        if not 0 <= val_share < 1:
            raise InputError(f"data.val_share is {val_share}: give a share from 0 to below 1")
        self._source, self.download = source, download
        self.cache_dir = Path(cache_dir).expanduser()
        self.image_size = image_size
        self.stored_size = stored_size or proportional(image_size)
        self.fit = fit
        self._given_mean = None if mean == "train" else mean_image(mean, self.stored_size)
        self.std = channels("std", std)
        if not (self.std > 0).all():
            raise InputError(f"data.std is {std}: give numbers above 0")
        self.batch_size = batch_size
        self.train_crops = train_crops
        self.test_views = test_views
        self.val_share = val_share
        self.seed = seed
        self.num_workers = num_workers
        self.corrupt = corrupt
        self.limit = limit
        self.excluded = read_excluded(exclude)
        self.tested: tuple[str, int | None] = ("test", None)  # split, most images
        self._packed: dict[str, CachedSplit] = {}

    @cached_property
    def source(self) -> Source:
        """The source, fetched where that was asked for."""
        if self.download:
            self._source.provide()
        return self._source

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes; no image is decoded for this."""
        return self.source.class_names()

    @property
    def num_classes(self) -> int:
        """How many classes there are; no image is decoded for this."""
        return len(self.class_names)

    def setup(self, stage: str | None = None) -> None:
        """Packs all splits whatever the stage, so that nothing is found to be wrong after the training."""
        if not self._packed:
            splits = self.chosen()
            whole = self.limit is None
            self._packed = cache_splits(splits, self.stored_size, self.cache_dir, whole=whole, corrupt=self.corrupt)
            counts = ", ".join(f"{len(split.rows)} {name}" for name, split in self._packed.items())
            log.info("%s: %s images in %d classes", splits["train"].listing.title, counts, self.num_classes)
        if stage == "fit" and self.limit is None:
            check_training_classes(self._packed["train"], self.class_names)

    def chosen(self) -> dict[str, Split]:
        """The rows of each split; no image is decoded for this."""
        own = own_splits(self.source, fit=self.fit, excluded=self.excluded)
        return choose_rows(own, val_share=self.val_share, seed=self.seed, limit=self.limit)

    def count(self, split: str) -> int:
        """How many images a split has."""
        return len(self._split(split)[1])

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled, with the crops of `train_crops`, which differ from epoch to epoch."""
        return self._loader(self.dataset("train", self.train_crops), self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        """The centre crops; an empty list where there is no `val`."""
        dataset = self.dataset("val", "centre")
        return self._loader(dataset, self.batch_size, shuffle=False) if len(dataset) else []

    def test_dataloader(self) -> DataLoader[Any]:
        """Ten crops of each image [n, 10, 3, c, c], or the centre crops."""
        return self.tested_dataloader(*self.tested)

    def tested_dataloader(self, split: str, limit: int | None = None) -> DataLoader[Any]:
        """The first `limit` images of a split, seen as the test sees its images."""
        dataset = self.dataset(split, "centre" if self.test_views == 1 else "ten", limit)
        return self._loader(dataset, max(1, self.batch_size // self.test_views), shuffle=False)

    def plain_dataloader(self, split: str, limit: int | None = None, shares: int = 1) -> DataLoader[Any]:
        """The centre crops of the first `limit` images of a split, in order, in `shares` batches at least."""
        seen = self.dataset(split, "centre", limit)
        return self._loader(seen, max(1, min(self.batch_size, len(seen) // shares)), shuffle=None)

    def dataset(self, split: str, view: str = "centre", limit: int | None = None) -> CachedImages:
        """The first `limit` images of a split as a torch data set; for the views see `PackedImages`."""
        return self._seen(CachedSplit(self._split(split).packed, self._split(split).rows[:limit]), view)

    @property
    def protocol(self) -> Protocol:
        """Which images train and which test a classifier; all are decoded, to leave out what cannot be read."""
        return self.pool.protocol

    def pool_dataloader(self, view: str = "centre", start: int = 0) -> DataLoader[Any]:
        """All images of the protocol's pool from an index on, in order: `centre` crops, or `ten` [n, 10, 3, c, c].

        Images that cannot be read are there, too, and black: an index is that of `protocol`, whose splits lack them.
        """
        check_choice("view", view, ("centre", "ten"))
        dataset = JoinedImages([self._seen(part, view) for part in self.pool.since(start)])
        return self._loader(dataset, max(1, self.batch_size // TEN) if view == "ten" else self.batch_size, shuffle=None)

    def image_id(self, split: str, index: int) -> str:
        """What tells an image apart: its path below the root of the data set, or such as parts/123."""
        packed, rows = self._split(split)
        return packed.listing.names[rows[index]]

    def regions(self, split: str, index: int) -> dict[str, Bool[Tensor, "c c"]]:
        """Where, in the centre crop, things are known to be: ``object`` and its parts; empty for other data sets."""
        packed, rows = self._split(split)
        start = centre_start(self.stored_size, self.image_size)
        inside = slice(start, start + self.image_size)
        masks = packed.listing.regions(int(rows[index]), self.stored_size)
        return {name: torch.from_numpy(mask[inside, inside].copy()) for name, mask in masks.items()}

    @property
    def mean(self) -> Float[Tensor, "3 c c"]:
        """What is subtracted from a centre crop."""
        start = centre_start(self.stored_mean.shape[-1], self.image_size)
        return self.stored_mean[:, start : start + self.image_size, start : start + self.image_size]

    def to_display(self, images: Float[Tensor, "n 3 c c"]) -> UInt8[Tensor, "n 3 c c"]:
        """Centre crops as they looked, as bytes."""
        pixels = images * self.std[:, None, None].to(images) + self.mean.to(images)
        return pixels.round().clamp(0, 255).to(torch.uint8)

    @cached_property
    def stored_mean(self) -> Float[Tensor, "3 s s"]:
        """What is subtracted from a whole square, before crops are taken."""
        if self._given_mean is not None:
            return self._given_mean
        packed, rows = self._split("train")
        return packed.mean(rows)

    @cached_property
    def pool(self) -> Pool:
        """The protocol with the caches of its images."""
        return cache_pool(
            self.source, self.stored_size, self.cache_dir, fit=self.fit, excluded=self.excluded, corrupt=self.corrupt
        )

    def _seen(self, split: CachedSplit, view: str) -> CachedImages:
        labels = torch.from_numpy(split.labels)
        return CachedImages(split.packed.images, split.rows, labels, self.stored_mean, self.std, self.image_size, view)

    def _split(self, name: str) -> CachedSplit:
        self.setup()
        check_choice("split", name, (*self._packed, "all"))
        return self._packed[name] if name != "all" else together(self._packed)

    def _loader(self, seen: CachedImages | JoinedImages, batch: int, *, shuffle: bool | None) -> DataLoader[Any]:
        """Batches in this process; `shuffle` None is every image in order in every process."""
        processes, workers = processes_of(self.trainer), self.num_workers
        return loader(seen, batch, processes, shuffle=shuffle, seed=self.seed, num_workers=workers)
