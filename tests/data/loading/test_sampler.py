import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convlens.data.loading.sampler import EpochSampler, random_bits

MASK = 2**64 - 1


def splitmix(state: int) -> int:
    """SplitMix64 in Python integers."""
    state = (state + 0x9E3779B97F4A7C15) & MASK
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
    return state ^ (state >> 31)


def literal_draw(seed: int, epoch: int, index: int) -> int:
    stream = splitmix((splitmix(seed & MASK) + epoch) & MASK)
    return splitmix((stream + index * 0x9E3779B97F4A7C15) & MASK)


def test_the_twin_is_splitmix64():
    assert splitmix(0) == 0xE220A8397B1DCDAF  # first output for seed 0, as published


@given(seed=st.integers(-5, 2**70), epoch=st.integers(0, 1000), indices=st.lists(st.integers(0, 2**40), max_size=5))
def test_draws_match_the_literal_form(seed, epoch, indices):
    result = random_bits(seed, epoch, np.array(indices, np.uint64))
    assert result.tolist() == [literal_draw(seed, epoch, index) for index in indices]


def test_draws_of_seeds_epochs_and_images_have_nothing_in_common():
    whole_split = np.concatenate(
        [random_bits(s, e, np.arange(500, dtype=np.uint64)) for s in range(5) for e in range(5)]
    )
    assert len(np.unique(whole_split)) == len(whole_split)
    bits = (whole_split[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
    assert (abs(bits.mean(axis=0) - 0.5) < 0.025).all()
    assert (abs(np.corrcoef(bits.astype(float), rowvar=False) - np.eye(64)) < 0.05).all()


def test_an_epoch_is_a_permutation_that_changes_with_seed_and_epoch():
    orders = set()
    for seed in (0, 1):
        sampler = EpochSampler(50, seed=seed)
        for epoch in (0, 1):
            sampler.set_epoch(epoch)
            pairs = list(sampler)
            assert pairs == list(sampler)
            assert sorted(index for index, _ in pairs) == list(range(50))
            assert all(draw == literal_draw(seed, epoch, index) for index, draw in pairs)
            orders.add(tuple(index for index, _ in pairs))
    assert len(orders) == 4
    assert tuple(range(50)) not in orders


def test_in_order_when_not_shuffled():
    sampler = EpochSampler(5, seed=3, shuffle=False)
    sampler.set_epoch(7)
    assert list(sampler) == [(index, literal_draw(3, 7, index)) for index in range(5)]


@settings(max_examples=60)
@given(length=st.integers(1, 40), replicas=st.integers(1, 5), epoch=st.integers(0, 3))
def test_replicas_share_out_the_epoch(length, replicas, epoch):
    whole = EpochSampler(length, seed=1)
    whole.set_epoch(epoch)
    parts = []
    for rank in range(replicas):
        sampler = EpochSampler(length, seed=1, num_replicas=replicas, rank=rank)
        sampler.set_epoch(epoch)
        parts.append(list(sampler))
        assert len(parts[-1]) == len(sampler) == -(-length // replicas)
    woven = [parts[i % replicas][i // replicas] for i in range(replicas * len(parts[0]))]
    alone = list(whole)
    assert woven[:length] == alone
    assert woven == [alone[i % length] for i in range(len(woven))]


@settings(max_examples=60)
@given(length=st.integers(1, 40), replicas=st.integers(1, 5))
def test_unshuffled_replicas_repeat_no_image(length, replicas):
    samplers = [EpochSampler(length, shuffle=False, num_replicas=replicas, rank=rank) for rank in range(replicas)]
    assert [len(list(sampler)) for sampler in samplers] == [len(sampler) for sampler in samplers]
    assert sorted(index for sampler in samplers for index, _ in sampler) == list(range(length))


def test_the_global_random_state_is_neither_read_nor_changed():
    def states():
        return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002

    before = states()
    first = list(EpochSampler(20))
    assert states() == before
    torch.manual_seed(99)
    assert list(EpochSampler(20)) == first


@pytest.mark.parametrize("rank", [-1, 2])
def test_a_rank_beyond_the_replicas_is_refused(rank):
    with pytest.raises(ValueError, match="rank"):
        EpochSampler(5, num_replicas=2, rank=rank)
