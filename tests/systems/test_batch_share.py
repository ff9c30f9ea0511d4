"""The shares of all processes are all images of an epoch, once each and with one weight."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convlens.data.loading.sampler import EpochSampler
from convlens.systems.batch_share import batch_share


@dataclass
class Loader:
    batch_size: int
    sampler: EpochSampler


@dataclass
class Progress:
    """Of a trainer."""

    accumulate_grad_batches: int
    world_size: int
    global_rank: int
    num_training_batches: int
    train_dataloader: Any


@given(st.integers(1, 5), st.integers(1, 3), st.integers(1, 4), st.data())
def test_each_image_counts_once_and_has_the_weight_of_one_in_its_step(world_size, parts, size, data):
    images = data.draw(st.integers(world_size, 50))
    order = [index for index, _ in EpochSampler(images, seed=1)]
    seen: Counter[int] = Counter()
    weights: dict[int, list[float]] = {}
    for rank in range(world_size):
        sampler = EpochSampler(images, seed=1, num_replicas=world_size, rank=rank)
        mine = [index for index, _ in sampler]
        batches = [mine[start : start + size] for start in range(0, len(mine), size)]
        trainer = Progress(parts, world_size, rank, len(batches), Loader(size, sampler))
        for number, batch in enumerate(batches):
            share = batch_share(trainer, number, len(batch))
            whole = order[number * size * world_size : (number + 1) * size * world_size]
            assert share.total == len(whole)
            assert batch[: share.own] == whole[rank::world_size]
            assert share.rows in (share.own, len(batch))
            seen.update(batch[: share.own])
            # Lightning divides by the processes and by the parts, the mean loss by the own images.
            each = share.weight / world_size / parts / max(1, share.own)
            weights.setdefault(number // parts, []).extend([each] * share.own)
    assert seen == Counter(range(images))
    for of_step in weights.values():
        assert of_step == pytest.approx([1 / len(of_step)] * len(of_step))
