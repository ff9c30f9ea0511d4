"""Data loaders of whole batches, shared between the ranks of a distributed training and accumulated batches."""

from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from convlens.data.loading.dataset import identity
from convlens.data.loading.sampler import EpochSampler
from convlens.errors import InputError

Batch: TypeAlias = tuple[Tensor, ...]
"""Images and labels, from shards also the images' positions in their split."""


@runtime_checkable
class BatchDataset(Protocol):
    """A data set of known length that returns whole batches."""

    def __len__(self) -> int: ...


@runtime_checkable
class TrainerState(Protocol):
    """The attributes of a Lightning trainer that a loader depends on."""

    accumulate_grad_batches: int

    @property
    def world_size(self) -> int:
        """Number of ranks."""

    @property
    def global_rank(self) -> int:
        """Rank of this process."""


@dataclass(frozen=True)
class DistributedContext:
    """The ranks that train together.

    Attributes:
        world_size: number of ranks.
        rank: rank of this process.
        accumulate_grad_batches: number of batches in a step of the optimizer.
    """

    world_size: int = 1
    rank: int = 0
    accumulate_grad_batches: int = 1

    @classmethod
    def from_trainer(cls, trainer: TrainerState | None) -> "DistributedContext":
        """Return the context of a trainer; a single rank for None."""
        if trainer is None:
            return cls()
        return cls(trainer.world_size, trainer.global_rank, trainer.accumulate_grad_batches)

    def batch_size_per_rank(self, batch_size: int, num_images: int, *, training: bool) -> int:
        """Return the images in a batch of one rank, so that a step has ``batch_size`` images with any number of ranks.

        Args:
            batch_size: images in a step.
            num_images: images in the data set.
            training: the batches must divide evenly and may be accumulated; an evaluation treats each image by itself.

        Raises:
            InputError: the batch cannot be divided evenly, or a rank would have no image.
        """
        if 0 < num_images < self.world_size:
            raise InputError(f"{self.world_size} ranks for {num_images} images: use at most {num_images} devices")
        parts = self.world_size * (self.accumulate_grad_batches if training else 1)
        if batch_size % parts and training:
            accumulated = f", {self.accumulate_grad_batches} batches each" if self.accumulate_grad_batches > 1 else ""
            raise InputError(
                f"recipe.batch_size={batch_size} cannot be divided evenly between {self.world_size} devices"
                f"{accumulated}: give a multiple of {parts}"
            )
        return max(1, batch_size // parts)


def make_loader(
    dataset: BatchDataset,
    batch_size: int,
    context: DistributedContext,
    *,
    shuffle: bool | None,
    seed: int,
    num_workers: int,
) -> DataLoader[Batch]:
    """Return a loader of this rank's share of a data set that returns whole batches.

    Args:
        dataset: the data set.
        batch_size: images in a step of all ranks.
        context: the ranks that share the images.
        shuffle: True for training, False for evaluation, None for every image in order on every rank.
        seed: determines the order of each epoch.
        num_workers: number of worker processes.

    Raises:
        InputError: the batch cannot be divided between the ranks.
    """
    sampler = None
    if shuffle is not None:
        batch_size = context.batch_size_per_rank(batch_size, len(dataset), training=shuffle)
        sampler = EpochSampler(
            len(dataset), seed=seed, shuffle=shuffle, num_replicas=context.world_size, rank=context.rank
        )
    return DataLoader(
        dataset,  # type: ignore[arg-type]
        batch_size,
        sampler=sampler,
        num_workers=num_workers,
        collate_fn=identity,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=num_workers > 0,
    )
