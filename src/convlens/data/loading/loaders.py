"""Loaders of whole batches, shared among the processes of a training and the steps whose gradients are added."""

from collections.abc import Sized
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader

from convlens.data.loading.dataset import as_is
from convlens.data.loading.sampler import EpochSampler
from convlens.errors import InputError


@dataclass(frozen=True)
class Processes:
    """The processes that train together.

    Attributes:
        count: how many.
        rank: the number of this one.
        accumulated: how many batches make one step of the optimiser.
    """

    count: int = 1
    rank: int = 0
    accumulated: int = 1

    def share(self, batch_size: int, images: int, *, whole: bool) -> int:
        """The images of this process in a batch, so that a step is of ``batch_size`` images for any number of devices.

        Args:
            batch_size: images in a step.
            images: in the data set.
            whole: no gradients are added: the batch need not divide, as each image is looked at by itself.

        Raises:
            InputError: the batch cannot be shared evenly, or a process would have no image.
        """
        if 0 < images < self.count:
            raise InputError(f"{self.count} processes for {images} images: use at most {images} devices")
        parts = self.count * (1 if whole else self.accumulated)
        if batch_size % parts and not whole:
            added = f", {self.accumulated} batches each" if self.accumulated > 1 else ""
            raise InputError(
                f"recipe.batch_size={batch_size} cannot be shared evenly by {self.count} devices{added}: "
                f"give a multiple of {parts}"
            )
        return max(1, batch_size // parts)


def processes_of(trainer: Any) -> Processes:
    """Those of a Lightning trainer; one process where there is no trainer."""
    if trainer is None:
        return Processes()
    return Processes(trainer.world_size, trainer.global_rank, trainer.accumulate_grad_batches)


def loader(
    dataset: Sized, batch_size: int, processes: Processes, *, shuffle: bool | None, seed: int,
    num_workers: int,
) -> DataLoader[Any]:  # fmt: skip
    """Batches of this process's share of a data set that hands out whole batches; ``shuffle`` None is every image in
    order in every process.

    Raises:
        InputError: it cannot be shared.
    """
    sampler = None
    if shuffle is not None:
        batch_size = processes.share(batch_size, len(dataset), whole=not shuffle)
        sampler = EpochSampler(
            len(dataset), seed=seed, shuffle=shuffle, num_replicas=processes.count, rank=processes.rank
        )
    return DataLoader(
        dataset,  # type: ignore[arg-type]
        batch_size,
        sampler=sampler,
        num_workers=num_workers,
        collate_fn=as_is,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=num_workers > 0,
    )
