"""The order of each epoch, and a random number for each image's crop, as functions of seed and epoch."""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import UInt64
from torch.utils.data.distributed import DistributedSampler

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def random_bits(seed: int, epoch: int, indices: UInt64[np.ndarray, " n"]) -> UInt64[np.ndarray, " n"]:
    """Return 64 random bits for each image: a pure function of seed, epoch (from 0) and image, by SplitMix64."""
    stream = _mix(_mix(_bits(seed)) + _bits(epoch))
    return _mix(stream + indices * _GOLDEN)


def _mix(state: UInt64[np.ndarray, "*n"]) -> UInt64[np.ndarray, "*n"]:
    """Advance SplitMix64 by one step (Steele, Lea, Flood 2014)."""
    state = state + _GOLDEN
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def _bits(number: int) -> UInt64[np.ndarray, "1"]:
    """Return an integer modulo 2^64, as an array because NumPy arrays wrap around without a warning."""
    return np.array([number % 2**64], np.uint64)


class EpochSampler(DistributedSampler[tuple[int, int]]):
    """Sampler of pairs: a position in the data set and 64 random bits for the image's crop in this epoch.

    Order and bits depend on (seed, epoch, index) alone: they are the same with any number of workers and after a
    resumed run, and the global random state is neither read nor changed.

    It is a ``DistributedSampler``, so that Lightning keeps it when it trains on several devices and calls
    ``set_epoch``. Each of the ``num_replicas`` ranks takes every ``num_replicas``-th position. When shuffled
    (training), the last round is filled up from the beginning so that all ranks have the same number, and training
    counts only the first of two; otherwise each position occurs exactly once.
    """

    def __init__(
        self, length: int, *, seed: int = 0, shuffle: bool = True, num_replicas: int = 1, rank: int = 0
    ) -> None:
        sized = range(length)  # a DistributedSampler reads only the length of its data set
        super().__init__(sized, num_replicas=num_replicas, rank=rank, shuffle=shuffle, seed=seed)  # type: ignore[arg-type]
        self.length = length

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.arange(self.length, dtype=np.uint64)
        if self.shuffle:
            key = random_bits(self.seed, self.epoch, order[:1] + np.uint64(self.length))
            generator = torch.Generator().manual_seed(int(key[0] >> np.uint64(1)))
            order = order[torch.randperm(self.length, generator=generator).numpy()]
            order = np.resize(order, len(self) * self.num_replicas)
        mine = order[self.rank :: self.num_replicas]
        yield from zip(mine.tolist(), random_bits(self.seed, self.epoch, mine).tolist(), strict=True)

    def __len__(self) -> int:
        if self.shuffle:
            return -(-self.length // self.num_replicas)
        return len(range(self.rank, self.length, self.num_replicas))
