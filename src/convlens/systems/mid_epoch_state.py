"""State of a training in the middle of an epoch, and a batch's weight in a step of accumulated batches."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, TypedDict, runtime_checkable

import torch
from torch import Tensor, nn
from torchmetrics import Metric


class RankState(TypedDict, total=False):
    """State of one rank: random number generators and sums of the epoch's metrics.

    Attributes:
        random: state of the CPU generator.
        random_cuda: state of the GPU's generator, if there is one.
        measures: tensors of each metric by name.
    """

    random: Tensor
    random_cuda: Tensor
    measures: dict[str, dict[str, Tensor]]


class MidEpochState:
    """Random numbers and metrics of all ranks after some batches of an epoch.

    Args:
        ranks: state of each rank, as ``gather`` returns them; None for a training that starts with an epoch.
    """

    def __init__(self, ranks: Sequence[RankState] | None = None) -> None:
        self.ranks = ranks

    def gather(self, metrics: nn.Module, world_size: int) -> list[RankState]:
        """Return the current state of all ranks; each rank must call this."""
        states = {name: {key: state.cpu() for key, state in _tensors(metric)} for name, metric in _children(metrics)}
        own: RankState = {"random": torch.get_rng_state(), "measures": states}
        if torch.cuda.is_available():
            own["random_cuda"] = torch.cuda.get_rng_state()
        if world_size == 1:
            return [own]
        gathered: list[RankState] = [{} for _ in range(world_size)]
        torch.distributed.all_gather_object(gathered, own)
        return gathered

    def restore(self, metrics: nn.Module, rank: int) -> None:
        """Restore a rank's random numbers and metrics.

        Rank 0 takes the sums of all ranks' metrics, which is right for another number of ranks, too. A rank that did
        not exist keeps its random numbers.
        """
        if self.ranks is None:
            return
        if rank < len(self.ranks):
            torch.set_rng_state(self.ranks[rank]["random"])
            if torch.cuda.is_available() and "random_cuda" in self.ranks[rank]:
                torch.cuda.set_rng_state(self.ranks[rank]["random_cuda"])
        if rank == 0:
            for name, metric in _children(metrics):
                saved = [state["measures"][name] for state in self.ranks]
                for key, state in _tensors(metric):
                    setattr(metric, key, sum(_saved(one, key).to(state.device) for one in saved))
                metric._update_count = 1  # otherwise Lightning takes the metric for one without a value


def _saved(state: Mapping[str, Tensor], key: str) -> Tensor:
    """Return a metric's tensor; checkpoints of version 0.1 name the sum of the losses ``total``."""
    return state[key] if key in state else state["total"]


def _children(metrics: nn.Module) -> Iterator[tuple[str, Metric]]:
    return ((name, metric) for name, metric in metrics.named_children() if isinstance(metric, Metric))


def _tensors(metric: Metric) -> Iterator[tuple[str, Tensor]]:
    return ((key, state) for key, state in metric.metric_state.items() if isinstance(state, Tensor))


@runtime_checkable
class _TrainLoader(Protocol):
    batch_size: int


@runtime_checkable
class TrainerProgress(Protocol):
    """The attributes of a Lightning trainer that decide a batch's weight."""

    accumulate_grad_batches: int

    @property
    def num_training_batches(self) -> int | float:
        """Batches of an epoch."""

    @property
    def train_dataloader(self) -> _TrainLoader | None:
        """The loader of the training images."""


def batch_weight(trainer: TrainerProgress, batch_idx: int, num_images: int) -> float:
    """Return the factor of a batch's loss that gives all images of a step the same weight.

    Lightning divides by the number of batches of a full step, also in the last step of an epoch, which may have fewer.

    Args:
        trainer: the trainer.
        batch_idx: index of the batch in its epoch.
        num_images: images in the batch.
    """
    parts = trainer.accumulate_grad_batches
    if parts == 1:
        return 1.0
    loader, batches = trainer.train_dataloader, int(trainer.num_training_batches)
    assert loader is not None
    first = batch_idx // parts * parts
    batches_in_step = min(parts, batches - first)
    all_images: int = getattr(loader, "images", None) or len(loader.sampler)  # type: ignore[attr-defined]
    images_in_step = min(batches_in_step * loader.batch_size, all_images - first * loader.batch_size)
    return parts * num_images / images_in_step
