"""Readers of shards: images by position, and a training loader that resumes within an epoch."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor
from torch.utils.data import Dataset

Batch = tuple[UInt8[Tensor, "n 3 s s"], Int64[Tensor, " n"], Int64[Tensor, " n"]]
"""Squares as bytes, labels, and positions of the images in their split."""
ShardItem = Mapping[str, bytes | memoryview | int]
"""An item of a shard: ``image`` (bytes of a square), ``label`` and ``index``."""
State = dict[str, object]


@runtime_checkable
class ItemDataset(Protocol):
    """litdata's streaming data set, as it is used here."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> ShardItem: ...

    def set_epoch(self, current_epoch: int) -> None:
        """Set the epoch, from 1."""

    def state_dict(self, num_samples_yielded: int, num_workers: int, batch_size: int) -> State:
        """Return the position after some samples."""


@runtime_checkable
class StreamingLoader(Protocol):
    """litdata's loader, as it is used here."""

    dataset: ItemDataset
    batch_size: int
    num_workers: int
    restore: bool
    current_epoch: int

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Batch]: ...

    def load_state_dict(self, state: State) -> None:
        """Continue from a position."""


class ShardImages(Dataset[Batch]):
    """The first ``count`` images of a split as whole batches by position."""

    def __init__(self, dataset: ItemDataset, count: int) -> None:
        self.dataset, self.count = dataset, count

    def __len__(self) -> int:
        return self.count

    def __getitems__(self, keys: Sequence[tuple[int, int]]) -> Batch:
        """Return a batch for keys (index, random bits), as an ``EpochSampler`` yields them."""
        return collate([self.dataset[index] for index, _ in keys])


class ResumableLoader:
    """A training loader that reads the training's position when its first batch is requested.

    Lightning creates the loader and its iterator before it restores the position.

    Args:
        loader: the loader.
        position: returns the epoch, from 0, and the number of its finished batches.
    """

    def __init__(self, loader: StreamingLoader, position: Callable[[], tuple[int, int]]) -> None:
        self.loader, self.position = loader, position

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return len(self.loader)

    @property
    def batch_size(self) -> int:
        """Images in a batch of this rank."""
        return int(self.loader.batch_size)

    @property
    def images(self) -> int:
        """Images of this rank in an epoch."""
        return len(self.loader.dataset)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the remaining batches of the epoch."""
        resume_loader(self.loader, *self.position())
        yield from self.loader


def resume_loader(loader: StreamingLoader, epoch: int, batches: int) -> None:
    """Resume a loader mid-epoch with the batch order of an uninterrupted run.

    Args:
        loader: the loader.
        epoch: the epoch, from 0.
        batches: finished batches of the epoch.
    """
    loader.restore, loader.current_epoch = False, epoch  # the loader adds 1 at the start of an epoch
    if not 0 < batches < len(loader):
        return
    done, workers = batches * loader.batch_size, loader.num_workers
    loader.dataset.set_epoch(epoch + 1)
    position = loader.dataset.state_dict(num_samples_yielded=done, num_workers=workers, batch_size=loader.batch_size)
    state = {"dataset": position, "current_epoch": epoch + 1, "num_samples_yielded": done}
    loader.load_state_dict(state | {"latest_worker_idx": (batches - 1) % max(workers, 1)})


def allow_plain_http() -> None:
    """Let litdata read from servers without encryption, such as one in the same network; it has no setting for this."""
    from litdata.streaming import downloader

    options: dict[str, object] = getattr(downloader, "_OBSTORE_CLIENT_OPTIONS", {})
    options["allow_http"] = True


def collate(items: Sequence[ShardItem]) -> Batch:
    """Stack items of shards to a batch."""
    pixels = np.stack([np.frombuffer(item["image"], np.uint8) for item in items])  # type: ignore[arg-type]
    size = round((pixels.shape[1] / 3) ** 0.5)
    labels, indices = (torch.tensor([item[key] for item in items]) for key in ("label", "index"))
    return torch.from_numpy(pixels).view(-1, 3, size, size), labels, indices
