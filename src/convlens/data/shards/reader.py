"""Loaders of shards: rows by their numbers, and a training that goes on within an epoch."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor
from torch.utils.data import Dataset

Batch = tuple[UInt8[Tensor, "n 3 s s"], Int64[Tensor, " n"], Int64[Tensor, " n"]]
"""Squares as bytes, labels, numbers of the images in their split."""


class Rows(Dataset[Any]):
    """The first images of a split by their numbers, whole batches at once."""

    def __init__(self, dataset: Any, count: int) -> None:
        self.dataset, self.count = dataset, count

    def __len__(self) -> int:
        return self.count

    def __getitems__(self, keys: Sequence[tuple[int, int]]) -> Batch:
        """A batch; keys are (index, draw), as an ``EpochSampler`` gives them."""
        return collate([self.dataset[index] for index, _ in keys])


class Continued:
    """A loader for a training, which asks where the training is when its first batch is asked for.

    Lightning makes the loader, and begins it, before it knows that.
    """

    def __init__(self, loader: Any, trainer: Any) -> None:
        self.loader, self.trainer = loader, trainer

    def __len__(self) -> int:
        """Batches of an epoch."""
        return len(self.loader)

    @property
    def batch_size(self) -> int:
        """Images of a batch of this process."""
        return int(self.loader.batch_size)

    @property
    def images(self) -> int:
        """Images of this process in an epoch."""
        return len(self.loader.dataset)

    def __iter__(self) -> Iterator[Any]:
        """The batches of the epoch that are still to come."""
        go_on(self.loader, self.trainer.current_epoch, self.trainer.fit_loop.epoch_loop.batch_progress.current.ready)
        yield from self.loader


def go_on(training: Any, epoch: int, batches: int) -> None:
    """Begin a loader in an epoch (from 0) of which some batches are done, in the order of one never stopped."""
    training.restore, training.current_epoch = False, epoch  # at the start of an epoch it counts on
    if not 0 < batches < len(training):
        return
    done, workers = batches * training.batch_size, training.num_workers
    training.dataset.set_epoch(epoch + 1)
    place = training.dataset.state_dict(num_samples_yielded=done, num_workers=workers, batch_size=training.batch_size)
    state = {"dataset": place, "current_epoch": epoch + 1, "num_samples_yielded": done}
    training.load_state_dict(state | {"latest_worker_idx": (batches - 1) % max(workers, 1)})


def allow_plain_http() -> None:
    """Let litdata fetch from servers without encryption, such as one in the same rack; it has no setting for that."""
    from litdata.streaming import downloader

    options: dict[str, Any] = getattr(downloader, "_OBSTORE_CLIENT_OPTIONS", {})
    options["allow_http"] = True


def collate(items: Sequence[Mapping[str, Any]]) -> Batch:
    """Items of the shards as a batch."""
    pixels = np.stack([np.frombuffer(item["image"], np.uint8) for item in items])
    size = round((pixels.shape[1] / 3) ** 0.5)
    numbers: Iterator[Tensor] = (torch.tensor([item[key] for item in items]) for key in ("label", "index"))
    return torch.from_numpy(pixels).view(-1, 3, size, size), *numbers  # type: ignore[return-value]
