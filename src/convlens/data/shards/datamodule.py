"""The DataModule of shards, which are read in sequence from a disk or an object store (litdata's format)."""

import logging
import os
import warnings
from collections.abc import Sequence
from functools import cached_property
from typing import Literal

import lightning as L
import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor
from torch.utils.data import DataLoader

from convlens.data.loading.crops import (
    NUM_CROPS,
    centre_offset,
    crop_batch,
    fixed_positions,
    random_positions,
    ten_positions,
)
from convlens.data.loading.loaders import Batch as LoaderBatch
from convlens.data.loading.loaders import DistributedContext, make_loader
from convlens.data.loading.sampler import random_bits
from convlens.data.shards.metadata import ShardMetadata, import_litdata, read_metadata
from convlens.data.shards.reader import (
    Batch,
    ItemDataset,
    ResumableLoader,
    ShardImages,
    StreamingLoader,
    allow_plain_http,
    collate,
)
from convlens.data.validate import MOST_WORKERS, channels, check_choice, check_range
from convlens.errors import InputError


class ShardedData(L.LightningDataModule):
    """Shards of ``task=write_shards`` as batches for training and testing, with the paper's preprocessing (Sec. 3).

    Shards are shuffled, and the images within each; a training resumes within an epoch with the next image. With
    several ranks, each trains on its own shards, and an epoch is as long as the rank with the fewest images allows;
    other ranks leave some of their images out, different ones each epoch. In a test no image is left out. Workers
    return bytes; the whole batch is cropped, mirrored and normalized on the network's device.

    Args:
        root: folder of the shards, or ``s3://bucket/path`` (AWS_ENDPOINT_URL names a server other than Amazon's).
        image_size: side of a crop in pixels.
        mean: ``train`` (the mean image that the shards hold), one number, or three; in pixel values of 0 to 255.
        std: see ``ImageData``.
        batch_size: images in a step of training.
        train_crops: see ``ImageData``.
        test_views: see ``ImageData``.
        seed: determines the order and the crops.
        num_workers: processes that read.
        cache_dir: folder for shards of an object store while they are read; None is litdata's own.
        cache_size: largest size of that folder, such as ``50GB``.

    Raises:
        InputError: a value is out of range. Methods raise it if there are no shards, or damaged ones.
    """

    def __init__(
        self,
        root: str,
        *,
        image_size: int = 224,
        mean: float | Sequence[float] | str = "train",
        std: float | Sequence[float] = 1.0,
        batch_size: int = 128,
        train_crops: Literal["random", "ten_fixed"] = "random",
        test_views: Literal[1, 10] = 10,
        seed: int = 0,
        num_workers: int = 0,
        cache_dir: str | None = None,
        cache_size: str = "50GB",
    ) -> None:
        super().__init__()
        check_choice("train_crops", train_crops, ("random", "ten_fixed"))
        check_choice("test_views", test_views, (1, NUM_CROPS))
        check_range("batch_size", batch_size, 1)
        check_range("num_workers", num_workers, 0, MOST_WORKERS)
        self.root, self.cache_dir, self.cache_size = root.rstrip("/"), cache_dir, cache_size
        self.batch_size, self.num_workers = batch_size, num_workers
        self.image_size, self.train_crops, self.test_views, self.seed = image_size, train_crops, test_views, seed
        self.eval_split = "test"
        self.eval_limit: int | None = None
        self._fixed_mean = None if mean == "train" else channels("mean", mean)
        self.std = channels("std", std)

    @cached_property
    def metadata(self) -> ShardMetadata:
        """Classes, mean image and files of the shards."""
        metadata = read_metadata(self.root)
        if not 1 <= self.image_size <= metadata["size"]:
            raise InputError(f"data.image_size={self.image_size}: the shards hold squares of {metadata['size']} px")
        return metadata

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes."""
        return tuple(self.metadata["class_names"])

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    def count(self, split: str) -> int:
        """Return the number of images in a split."""
        return int(self.metadata["counts"][split])

    def image_id(self, split: str, index: int) -> str:
        """Return an image's name."""
        return f"{split}/{index}"

    @cached_property
    def stored_mean(self) -> Float[Tensor, "3 s s"]:
        """Mean image of the squares, from which each crop's mean is cut."""
        size = self.metadata["size"]
        if self._fixed_mean is not None:
            return self._fixed_mean[:, None, None].expand(3, size, size).contiguous()
        return torch.tensor(self.metadata["mean"]).reshape(3, size, size)

    def train_dataloader(self) -> StreamingLoader | ResumableLoader:
        """Return shuffled batches; in a continued training from the batch at which it stopped."""
        context = DistributedContext.from_trainer(self.trainer)
        size = context.batch_size_per_rank(self.batch_size, self.count("train"), training=True)
        dataset = self._split("train", shuffle=True, drop_last=context.world_size > 1)
        loader: StreamingLoader = import_litdata().StreamingDataLoader(
            dataset, batch_size=size, num_workers=self.num_workers, collate_fn=collate
        )
        return loader if self.trainer is None else ResumableLoader(loader, self._position)

    def val_dataloader(self) -> DataLoader[LoaderBatch] | list[LoaderBatch]:
        """Return the validation images in order; an empty list without any."""
        return self._ordered_loader("val", self.batch_size) if self.count("val") else []

    def test_dataloader(self) -> DataLoader[LoaderBatch]:
        """Return the first ``eval_limit`` images of ``eval_split`` in order."""
        return self.eval_dataloader(self.eval_split, self.eval_limit)

    def eval_dataloader(self, split: str, limit: int | None = None) -> DataLoader[LoaderBatch]:
        """Return the first ``limit`` images of a split in order."""
        return self._ordered_loader(split, max(1, self.batch_size // self.test_views), limit)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> tuple[Tensor, Tensor, Tensor]:
        """Convert bytes to normalized crops [n, 3, c, c], or ten views [n, 10, 3, c, c], on the network's device."""
        images, labels, indices = batch
        trainer, stored, n = self.trainer, images.shape[-1], len(images)
        if trainer is not None and trainer.training:
            bits = random_bits(self.seed, trainer.current_epoch, indices.cpu().numpy().astype(np.uint64))
            positions = random_positions if self.train_crops == "random" else fixed_positions
            return self.crop(images, *positions(bits, stored, self.image_size)), labels, indices
        if trainer is not None and trainer.testing and self.test_views == NUM_CROPS:
            tops, lefts, flips = (p.repeat(n) for p in ten_positions(stored, self.image_size))
            views = self.crop(images.repeat_interleave(NUM_CROPS, 0), tops, lefts, flips)
            return views.unflatten(0, (n, NUM_CROPS)), labels, indices
        start = torch.full((n,), centre_offset(stored, self.image_size))
        return self.crop(images, start, start, torch.zeros(n, dtype=torch.bool)), labels, indices

    def crop(
        self,
        images: UInt8[Tensor, "n 3 s s"],
        tops: Int64[Tensor, " n"],
        lefts: Int64[Tensor, " n"],
        flips: Bool[Tensor, " n"],
    ) -> Float[Tensor, "n 3 c c"]:
        """Return one window of each image minus that of the mean, divided by std; mirrored where ``flips`` is true."""
        if images.device.type == "cpu":
            crops = crop_batch(images, self.stored_mean, tops, lefts, flips, self.image_size)
            return crops.div_(self.std[:, None, None])
        return self.crop_by_index(images, tops, lefts, flips)

    def crop_by_index(
        self,
        images: UInt8[Tensor, "n 3 s s"],
        tops: Int64[Tensor, " n"],
        lefts: Int64[Tensor, " n"],
        flips: Bool[Tensor, " n"],
    ) -> Float[Tensor, "n 3 c c"]:
        """Compute ``crop`` by gathering, which is fast on a GPU and slow on a CPU."""
        device, size = images.device, self.image_size
        steps = torch.arange(size, device=device)
        rows = tops.to(device)[:, None] + steps
        columns = lefts.to(device)[:, None] + torch.where(flips.to(device)[:, None], size - 1 - steps, steps)
        window = (rows[:, None, :, None], columns[:, None, None, :])
        channel = torch.arange(3, device=device)[None, :, None, None]
        number = torch.arange(len(images), device=device)[:, None, None, None]
        mean = self.stored_mean.to(device)[channel, *window]
        return (images[number, channel, *window] - mean) / self.std.to(device)[:, None, None]

    def _position(self) -> tuple[int, int]:
        """Return the training's epoch, from 0, and the number of its finished batches."""
        assert self.trainer is not None
        return self.trainer.current_epoch, self.trainer.fit_loop.epoch_loop.batch_progress.current.ready

    def _ordered_loader(self, split: str, batch_size: int, limit: int | None = None) -> DataLoader[LoaderBatch]:
        """Return the first images of a split in order, each on one rank."""
        count = self.count(split) if limit is None else min(limit, self.count(split))
        images, context = ShardImages(self._split(split), count), DistributedContext.from_trainer(self.trainer)
        return make_loader(images, batch_size, context, shuffle=False, seed=self.seed, num_workers=self.num_workers)

    def _split(self, split: str, *, shuffle: bool = False, drop_last: bool = False) -> ItemDataset:
        if os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://"):
            allow_plain_http()
        logging.getLogger("litdata").setLevel(logging.ERROR)  # it logs its cache at each epoch
        _ = self.metadata  # checks the files before litdata reads them
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="You're operating within a distributed environment")
            dataset = import_litdata().StreamingDataset(
                f"{self.root}/{split}",
                cache_dir=self.cache_dir,
                shuffle=shuffle,
                seed=self.seed,
                drop_last=drop_last,
                max_cache_size=self.cache_size,
            )
        dataset._on_demand_bytes = False  # read whole shards, not single items when these are accessed by position
        found: ItemDataset = dataset
        return found
