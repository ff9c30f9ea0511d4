import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from convlens.analysis.diagnosis.filter_health import FilterHealth, dead_map_share, filter_health
from convlens.errors import InputError


def literal(weight: torch.Tensor) -> tuple[list[float], list[bool]]:
    values = weight.double().numpy()
    rms = [float(np.sqrt(np.mean([v**2 for v in one.ravel()]))) for one in values]
    spread = [float(np.mean([np.std(plane) for plane in one])) for one in values]

    def weak(value, among):
        return bool(value == 0 or value < 0.1 * np.median(among) or value < 0.01 * max(among))

    flat = [weak(s, spread) for s in spread] if values[0, 0].size > 1 else [False] * len(rms)
    return rms, [weak(r, rms) or f for r, f in zip(rms, flat, strict=True)]


def test_strengths_by_hand():
    # RMS of (3, 4, 3, 4) over one channel is sqrt(12.5); halves and doubles scale with it.
    base = torch.tensor([[[[3.0, 4.0], [-3.0, -4.0]]]])
    health = filter_health(torch.cat([base, 0.5 * base, 2 * base, 4 * base]))
    assert health.rms.tolist() == pytest.approx([12.5**0.5 * k for k in (1, 0.5, 2, 4)])
    assert health.spread == pytest.approx(4 / 1.5)  # the median of four is half-way between 1 and 2
    assert health.dead_share == 0


def test_dead_filters_by_hand():
    """Weak ones, and strong ones without any structure."""
    base = torch.tensor([[[[3.0, 4.0], [-3.0, -4.0]]]])
    flat = torch.full((1, 1, 2, 2), 5.0)
    health = filter_health(torch.cat([base, 1.5 * base, 0.05 * base, flat, -base]))
    assert health.dead.tolist() == [False, False, True, True, False]
    assert health.dead_share == pytest.approx(40)


def test_most_of_the_filters_may_be_dead():
    weights = torch.randn(8, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    weights[:5] *= 1e-6
    assert filter_health(weights).dead_share == pytest.approx(62.5)
    assert filter_health(torch.zeros(4, 3, 5, 5)).dead_share == 100


def test_flatness_is_judged_channel_by_channel():
    # Each channel is constant: no structure in space, though the values differ between the channels.
    bars = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    bars[2] = torch.tensor([1.0, -1.0, 2.0])[:, None, None]
    assert filter_health(bars).dead.tolist() == [False, False, True, False]


def test_filters_of_one_pixel_are_never_flat():
    assert filter_health(torch.tensor([1.0, 2.0, 0.01]).reshape(3, 1, 1, 1)).dead.tolist() == [False, False, True]


@given(
    st.tuples(st.integers(1, 9), st.integers(1, 3), st.integers(1, 4), st.integers(1, 4)),
    st.integers(0, 10**6),
)
def test_the_literal_definition_gives_the_same(shape, seed):
    generator = torch.Generator().manual_seed(seed)
    scale = 10 ** (3 * torch.rand(shape[0], 1, 1, 1, generator=generator) - 2)
    weight = torch.randn(shape, generator=generator) * scale
    rms, dead = literal(weight)
    health = filter_health(weight)
    assert health.rms.tolist() == pytest.approx(rms, rel=1e-4)
    assert health.dead.tolist() == dead
    assert health.spread == pytest.approx(max(rms) / np.median(rms), rel=1e-4)
    assert health.dead_share == pytest.approx(100 * np.mean(dead))


def test_the_network_is_not_touched():
    conv = nn.Conv2d(3, 4, 3)
    before = conv.weight.detach().clone()
    assert not filter_health(conv.weight).rms.requires_grad
    assert torch.equal(conv.weight, before)


def test_one_dominating_filter_shows_in_the_spread():
    """What the paper saw in the first layer before its filters were scaled back (Fig 6 a)."""
    rms = torch.full((96,), 0.01)
    rms[17] = 0.25
    assert FilterHealth(rms, torch.zeros(96, dtype=torch.bool)).spread == pytest.approx(25)


# ---- maps that hardly ever fire ---------------------------------------------------------------------------------


@pytest.fixture
def lookup() -> nn.Module:
    """Four maps: the first channel, its negative, the first above 0.5 only, and nothing."""
    conv = nn.Conv2d(3, 4, 1)
    with torch.no_grad():
        conv.weight.zero_()
        conv.weight[:, 0, 0, 0] = torch.tensor([1.0, -1.0, 1.0, 0.0])
        conv.bias.copy_(torch.tensor([0.0, 0.0, -0.5, 0.0]))
    return nn.Sequential(conv, nn.ReLU(), nn.Dropout(0.9))


def images() -> torch.Tensor:
    """10 places each: the first channel is 1 once, -1 four times and 0.1 at five places, in one image; else zero."""
    images = torch.zeros(4, 3, 2, 5)
    images[2, 0] = torch.tensor([[1.0, -1, -1, -1, -1], [0.1, 0.1, 0.1, 0.1, 0.1]])
    return images


@pytest.mark.parametrize(
    ("threshold", "silent"),
    [
        (0.01, 25),  # the empty map alone
        (2.6, 50),  # 1 of 40 places is 2.5 %: the third too
        (10.5, 75),  # 4 of 40 are 10 %: the second too
        (15.1, 100),  # 6 of 40 are 15 %: all
        (2.5, 25),  # fewer than, not as few as
    ],
)
def test_maps_are_silent_below_a_share_of_all_places(lookup, threshold, silent):
    assert dead_map_share(lookup, "1", [images()[:3], images()[3:]], threshold) == silent
    assert dead_map_share(lookup, "0", [(images(), torch.zeros(4))], threshold) == silent  # as the ReLU would see it


def test_batches_of_different_sizes_weigh_by_their_images(lookup):
    splits = ([1, 3], [3, 1], [4])
    assert {dead_map_share(lookup, "1", list(images().split(sizes)), 10.5) for sizes in splits} == {75.0}


def test_the_network_is_evaluated_and_left_as_it_was(lookup):
    lookup.train()
    assert dead_map_share(lookup, "2", [images()], 0.01) == 25  # dropout is off meanwhile
    assert all(module.training for module in lookup.modules())


def test_no_image_is_an_error(lookup):
    with pytest.raises(InputError, match="the loader gave no images"):
        dead_map_share(lookup, "1", [])
