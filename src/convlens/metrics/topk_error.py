"""Top-k error in percent, the share of images whose label is not among the k highest scores."""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torchmetrics import Metric


def in_top_k(scores: Float[Tensor, "n classes"], labels: Int[Tensor, " n"], k: int) -> Bool[Tensor, " n"]:
    """Return whether each label is among the k highest scores; False for an image with a NaN score."""
    best = scores.topk(min(k, scores.shape[1]), dim=1).indices
    return (best == labels.unsqueeze(1)).any(1) & ~scores.isnan().any(1)


class TopKError(Metric):
    """Top-k error over all images, in percent."""

    full_state_update = False
    wrong: Tensor
    total: Tensor

    def __init__(self, k: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.k = k
        self.add_state("wrong", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("total", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, scores: Float[Tensor, "n classes"], labels: Int[Tensor, " n"]) -> None:
        """Add a batch."""
        self.wrong += (~in_top_k(scores, labels, self.k)).sum()
        self.total += len(labels)

    def compute(self) -> Tensor:
        """Return the error in percent."""
        return 100.0 * self.wrong / self.total
