"""State of a training in the middle of an epoch."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TypedDict

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

        Ranks have equal random numbers; rank 0 takes the sums of all ranks' metrics. Both are right for another number
        of ranks, too.
        """
        if self.ranks is None:
            return
        first = self.ranks[0]
        torch.set_rng_state(first["random"])
        if torch.cuda.is_available() and "random_cuda" in first:
            torch.cuda.set_rng_state(first["random_cuda"])
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
