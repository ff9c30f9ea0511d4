"""Top-k error in percent: 100 minus the share of images whose label is among the k best scores."""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torchmetrics import Metric


def in_top_k(scores: Float[Tensor, "n classes"], labels: Int[Tensor, " n"], k: int) -> Bool[Tensor, " n"]:
    """Whether each label is among the k greatest scores; an image with a NaN score counts as wrong."""
    best = scores.topk(min(k, scores.shape[1]), dim=1).indices
    return (best == labels.unsqueeze(1)).any(1) & ~scores.isnan().any(1)


class TopKError(Metric):
    """Top-k error over all images seen, in percent."""

    full_state_update = False
    wrong: Tensor
    total: Tensor

    def __init__(self, k: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.k = k
        self.add_state("wrong", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("total", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, scores: Float[Tensor, "n classes"], labels: Int[Tensor, " n"]) -> None:
        """Take in a batch."""
        self.wrong += (~in_top_k(scores, labels, self.k)).sum()
        self.total += len(labels)

    def compute(self) -> Tensor:
        """The error in percent."""
        return 100.0 * self.wrong / self.total
