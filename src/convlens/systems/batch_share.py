"""A process's share of the batch that all processes make together, and the weight of its loss in a step."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch.utils.data.distributed import DistributedSampler


@dataclass(frozen=True)
class BatchShare:
    """A process's images of a whole batch: every ``world_size``-th one from the ``rank``-th on.

    Attributes:
        rank: number of this process, from 0.
        world_size: number of processes.
        total: images of the whole batch.
        weight: factor of the mean loss of the own images, so that each image has the same weight in a step.
    """

    rank: int
    world_size: int
    total: int
    weight: float = 1.0

    @property
    def own(self) -> int:
        """Number of the process's images; 0 is possible in the last batch of an epoch."""
        return len(range(self.rank, self.total, self.world_size))

    @property
    def rows(self) -> int:
        """Number of images that the process computes: at least one, as the processes must take all steps together."""
        return max(1, self.own)


@runtime_checkable
class _TrainLoader(Protocol):
    batch_size: int


@runtime_checkable
class TrainerProgress(Protocol):
    """The attributes of a Lightning trainer that decide a process's share of a batch."""

    accumulate_grad_batches: int

    @property
    def world_size(self) -> int:
        """Number of processes."""

    @property
    def global_rank(self) -> int:
        """Number of this process."""

    @property
    def num_training_batches(self) -> int | float:
        """Batches of an epoch."""

    @property
    def train_dataloader(self) -> _TrainLoader | None:
        """The loader of the training images."""


def batch_share(trainer: TrainerProgress, batch_idx: int, num_images: int) -> BatchShare:
    """Return a process's share of a batch, without the images that only fill up the last batch of an epoch.

    Lightning averages the processes' gradients, and divides by the number of batches of a full step, also in the last
    step of an epoch, which may have fewer.

    Args:
        trainer: the trainer.
        batch_idx: index of the batch in its epoch.
        num_images: images in the batch of this process.
    """
    world_size, parts = trainer.world_size, trainer.accumulate_grad_batches
    if world_size == parts == 1:
        return BatchShare(0, 1, num_images)
    loader, batches = trainer.train_dataloader, int(trainer.num_training_batches)
    assert loader is not None
    images, size = _images(loader, world_size), loader.batch_size * world_size
    first = batch_idx // parts * parts
    in_step = min(min(parts, batches - first) * size, images - first * size)
    share = BatchShare(trainer.global_rank, world_size, min(size, images - batch_idx * size))
    return BatchShare(share.rank, world_size, share.total, parts * world_size * share.own / in_step)


def _images(loader: _TrainLoader, world_size: int) -> int:
    """Return the images of an epoch, over all processes."""
    of_one_process: int | None = getattr(loader, "images", None)
    if of_one_process is not None:
        return of_one_process * world_size
    sampler = loader.sampler  # type: ignore[attr-defined]
    if isinstance(sampler, DistributedSampler):  # the last round may hold images of the first one again
        return min(len(sampler.dataset), sampler.total_size)  # type: ignore[arg-type]
    return len(sampler)
