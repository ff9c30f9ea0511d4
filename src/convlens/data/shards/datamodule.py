"""Images packed in shards that are read one after the other, from a disk or an object store (litdata's format)."""

import logging
import os
import warnings
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import lightning as L
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from convlens.data.loading.crops import TEN, centre_start, crop_batch, fixed_positions, random_positions, ten_positions
from convlens.data.loading.loaders import loader, processes_of
from convlens.data.loading.sampler import draws
from convlens.data.shards.reader import Batch, Continued, Rows, allow_plain_http, collate
from convlens.data.shards.writer import read_about
from convlens.data.validate import channels, check_choice, check_least
from convlens.errors import InputError


class ShardedData(L.LightningDataModule):
    """The shards of ``task=pack`` as batches for training and testing, with the paper's preprocessing (Sec. 3).

    Shards are shuffled, and the images within each; a training that goes on within an epoch goes on with the next
    image. Of several processes each trains on shards of its own, and an epoch is as long as the process with the fewest
    images can make it: others leave the rest of theirs out, each epoch other ones. In a test no image is left out.
    Workers hand out bytes; crops, mirror images and the mean are taken of the whole batch where the network is.

    Args:
        root: folder of ``task=pack``, or ``s3://bucket/path`` (AWS_ENDPOINT_URL names a server other than Amazon's).
        image_size: side of a crop in pixels.
        mean: see ``ImageData``.
        std: see ``ImageData``.
        batch_size: images in a step of training.
        train_crops: see ``ImageData``.
        test_views: see ``ImageData``.
        seed: decides over the order and the crops.
        num_workers: processes that read.
        cache_dir: where shards of an object store are kept while they are read.
        cache_size: the most room that they take there.

    Raises:
        InputError: there are no shards, or of another version, or one is missing; or a value is not possible.
    """

    def __init__(
        self,
        root: str,
        *,
        image_size: int = 224,
        mean: str | Sequence[float] = "train",
        std: float | Sequence[float] = 1.0,
        batch_size: int = 128,
        train_crops: str = "random",
        test_views: int = TEN,
        seed: int = 0,
        num_workers: int = 0,
        cache_dir: str | None = None,
        cache_size: str = "50GB",
    ) -> None:
        super().__init__()
        check_choice("train_crops", train_crops, ("random", "ten_fixed"))
        check_choice("test_views", test_views, (1, TEN))
        check_least("batch_size", batch_size, 1)
        check_least("num_workers", num_workers, 0)
        self.root, self.cache_dir, self.cache_size = root.rstrip("/"), cache_dir, cache_size
        self.batch_size, self.num_workers = batch_size, num_workers
        self.image_size, self.train_crops, self.test_views, self.seed = image_size, train_crops, test_views, seed
        self.tested: tuple[str, int | None] = ("test", None)
        self._given_mean = None if mean == "train" else channels("mean", mean)
        self.std = channels("std", std)

    @cached_property
    def about(self) -> Mapping[str, Any]:
        """What ``task=pack`` noted: classes, names, mean image, shards of each split."""
        about = read_about(self.root)
        if not 1 <= self.image_size <= about["size"]:
            raise InputError(f"data.image_size={self.image_size}: the shards hold squares of {about['size']} px")
        return about

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes."""
        return tuple(self.about["class_names"])

    @property
    def num_classes(self) -> int:
        """How many there are."""
        return len(self.class_names)

    def count(self, split: str) -> int:
        """How many images a split has."""
        return int(self.about["counts"][split])

    def image_id(self, split: str, index: int) -> str:
        """What tells an image apart."""
        return f"{split}/{index}"

    @cached_property
    def mean(self) -> Float[Tensor, "3 s s"]:
        """What is subtracted from a square."""
        size = self.about["size"]
        if self._given_mean is not None:
            return self._given_mean[:, None, None].expand(3, size, size).contiguous()
        return torch.tensor(self.about["mean"]).reshape(3, size, size)

    def train_dataloader(self) -> Any:
        """Shuffled by shards; in a continued training from the batch at which it was stopped."""
        from litdata import StreamingDataLoader

        processes = processes_of(self.trainer)
        size = processes.share(self.batch_size, self.count("train"), whole=False)
        dataset = self._split("train", shuffle=True, drop_last=processes.count > 1)
        found = StreamingDataLoader(dataset, batch_size=size, num_workers=self.num_workers, collate_fn=collate)
        return found if self.trainer is None else Continued(found, self.trainer)

    def val_dataloader(self) -> Any:
        """In order."""
        return self._rows("val", self.batch_size) if self.count("val") else []

    def test_dataloader(self) -> Any:
        """In order."""
        return self.tested_dataloader(*self.tested)

    def tested_dataloader(self, split: str, limit: int | None = None) -> Any:
        """The first ``limit`` images of a split, seen as the test sees its images."""
        return self._rows(split, max(1, self.batch_size // self.test_views), limit)

    def plain_dataloader(self, split: str, limit: int | None = None) -> Any:
        """What callbacks that draw ask for.

        Raises:
            InputError: always: shards are for training and testing.
        """
        raise InputError("data=shards is to train and to test with: add callbacks=none; look at images of a folder")

    dataset = plain_dataloader

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> tuple[Tensor, Tensor, Tensor]:
        """Bytes to what the network reads, on its device: crops [n, 3, c, c] or, to test, ten each [n, 10, 3, c, c]."""
        images, labels, indices = batch
        trainer = self.trainer
        if trainer is not None and trainer.training:
            numbers = draws(self.seed, trainer.current_epoch, indices.cpu().numpy().astype(np.uint64))
            choose = random_positions if self.train_crops == "random" else fixed_positions
            return self.crops(images, *choose(numbers, images.shape[-1], self.image_size)), labels, indices
        if trainer is not None and trainer.testing and self.test_views == TEN:
            tops, lefts, flips = (p.repeat(len(images)) for p in ten_positions(images.shape[-1], self.image_size))
            seen = self.crops(images.repeat_interleave(TEN, 0), tops, lefts, flips)
            return seen.unflatten(0, (len(images), TEN)), labels, indices
        start = torch.full((len(images),), centre_start(images.shape[-1], self.image_size))
        return self.crops(images, start, start, torch.zeros(len(images), dtype=torch.bool)), labels, indices

    def crops(self, images: UInt8[Tensor, "n 3 s s"], tops: Tensor, lefts: Tensor, flips: Tensor) -> Tensor:
        """One window of each image less that of the mean, mirrored where ``flips`` says so, [n, 3, c, c]."""
        if images.device.type == "cpu":
            found = crop_batch(images, self.mean, tops, lefts, flips, self.image_size)
            return found.div_(self.std[:, None, None])
        return self.gathered(images, tops, lefts, flips)

    def gathered(self, images: UInt8[Tensor, "n 3 s s"], tops: Tensor, lefts: Tensor, flips: Tensor) -> Tensor:
        """``crops`` by indices, which a GPU does at once and a processor slowly."""
        device, size = images.device, self.image_size
        steps = torch.arange(size, device=device)
        rows = tops.to(device)[:, None] + steps
        columns = lefts.to(device)[:, None] + torch.where(flips.to(device)[:, None], size - 1 - steps, steps)
        at = (rows[:, None, :, None], columns[:, None, None, :])
        channel = torch.arange(3, device=device)[None, :, None, None]
        number = torch.arange(len(images), device=device)[:, None, None, None]
        mean = self.mean.to(device)[channel, *at]
        return (images[number, channel, *at] - mean) / self.std.to(device)[:, None, None]

    def _rows(self, split: str, batch_size: int, limit: int | None = None) -> Any:
        """The first images of a split in order, each in one process."""
        count = self.count(split) if limit is None else min(limit, self.count(split))
        rows, processes = Rows(self._split(split), count), processes_of(self.trainer)
        return loader(rows, batch_size, processes, shuffle=False, seed=self.seed, num_workers=self.num_workers)

    def _split(self, split: str, *, shuffle: bool = False, drop_last: bool = False) -> Any:
        if os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://"):
            allow_plain_http()
        logging.getLogger("litdata").setLevel(logging.ERROR)  # it tells of its cache at each epoch
        self.about  # before litdata looks  # noqa: B018
        from litdata import StreamingDataset

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="You're operating within a distributed environment")
            found = StreamingDataset(
                f"{self.root}/{split}", cache_dir=self.cache_dir, shuffle=shuffle, seed=self.seed, drop_last=drop_last,
                max_cache_size=self.cache_size,
            )  # fmt: skip
        # It would fetch the bytes of each row by themselves, where rows are asked for by their numbers.
        found._on_demand_bytes = False
        return found
