"""The mean of values that stand for different numbers of images."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric


class WeightedMean(Metric):
    """Mean of batches' values by their numbers of images; a value that is not a number makes the mean none."""

    full_state_update = False
    total: Tensor
    weight: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("weight", torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, value: Tensor, weight: int) -> None:
        """Take in the mean of a batch of ``weight`` images."""
        self.total += value * weight
        self.weight += weight

    def compute(self) -> Tensor:
        """The mean."""
        return self.total / self.weight
