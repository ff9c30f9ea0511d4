"""What a training needs to go on within an epoch, and the parts of which a step of the optimiser is made."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn


class MidEpochState:
    """Random numbers and measures of the processes of a training at some batch of an epoch.

    Args:
        kept: of each process, as ``gathered`` gave them; None where a training begins with an epoch.
    """

    def __init__(self, kept: Sequence[Mapping[str, Any]] | None = None) -> None:
        self.kept = kept

    def gathered(self, measures: nn.Module, processes: int) -> list[dict[str, Any]]:
        """Of all processes, each of which has to call this."""
        states = {name: {key: state.cpu() for key, state in _state(metric)} for name, metric in _metrics(measures)}
        own = {"random": torch.get_rng_state(), "measures": states}
        if torch.cuda.is_available():
            own["random_cuda"] = torch.cuda.get_rng_state()
        if processes == 1:
            return [own]
        everyone: list[Any] = [None] * processes
        torch.distributed.all_gather_object(everyone, own)
        return everyone

    def restore(self, measures: nn.Module, rank: int) -> None:
        """Put this process where it was. With another number of processes the first takes the measures of all.

        Random numbers are those of the process of the same rank, if there was one.
        """
        if self.kept is None:
            return
        if rank < len(self.kept):
            torch.set_rng_state(self.kept[rank]["random"])
            if torch.cuda.is_available() and "random_cuda" in self.kept[rank]:
                torch.cuda.set_rng_state(self.kept[rank]["random_cuda"])
        if rank == 0:
            for name, metric in _metrics(measures):
                for key, state in _state(metric):
                    total = sum(one["measures"][name][key].to(state.device) for one in self.kept)
                    setattr(metric, key, total)
                metric._update_count = 1  # or Lightning takes it for one without a value


def _metrics(measures: nn.Module) -> Iterator[tuple[str, Any]]:
    return ((name, metric) for name, metric in measures.named_children() if hasattr(metric, "metric_state"))


def _state(metric: Any) -> Iterator[tuple[str, Tensor]]:
    return ((key, state) for key, state in metric.metric_state.items() if isinstance(state, Tensor))


def share_of_step(trainer: Any, batch_idx: int, images: int) -> float:
    """What the loss of a batch is multiplied by, so that all images of a step weigh the same.

    Lightning divides by the number of batches of a full step, also in an epoch's last step, which may have fewer.
    """
    parts = trainer.accumulate_grad_batches
    if parts == 1:
        return 1.0
    loader, batches = trainer.train_dataloader, trainer.num_training_batches
    before = batch_idx // parts * parts
    here = min(parts, batches - before)
    all_images = getattr(loader, "images", None) or len(loader.sampler)
    in_step = min(here * loader.batch_size, all_images - before * loader.batch_size)
    return parts * images / in_step
