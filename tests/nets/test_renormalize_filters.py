import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from convlens.nets import renormalize_filters, zfnet


def conv(weights: list[float]) -> nn.Conv2d:
    """A 1x2 convolution with one filter per pair of weights."""
    layer = nn.Conv2d(1, len(weights) // 2, (1, 2))
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weights).view_as(layer.weight))
        layer.bias.fill_(5.0)
    return layer


def test_a_filter_above_the_radius_is_scaled_to_it_and_others_stay():
    # RMS of (0.3, -0.4) is sqrt(0.25 / 2) = 0.35355; of (0.1, 0.1) exactly 0.1; of (0.05, 0) 0.03536.
    layer = conv([0.3, -0.4, 0.1, 0.1, 0.05, 0.0])
    scale = 0.1 / math.sqrt(0.125)
    assert renormalize_filters(layer, 0.1) == 1
    assert layer.weight.flatten().tolist() == pytest.approx([0.3 * scale, -0.4 * scale, 0.1, 0.1, 0.05, 0.0])
    assert layer.weight[1:].flatten().tolist() == torch.tensor([0.1, 0.1, 0.05, 0.0]).tolist()
    assert layer.bias.tolist() == [5.0] * 3


def test_the_default_radius_is_the_papers_one_tenth():
    layer = conv([0.11, 0.11, 0.09, 0.09])
    assert renormalize_filters(layer) == 1
    assert layer.weight.flatten().tolist() == pytest.approx([0.1, 0.1, 0.09, 0.09])


def test_a_filter_of_zeros_stays_zero():
    layer = conv([0.0, 0.0, 1.0, 1.0])
    assert renormalize_filters(layer) == 1
    assert layer.weight.flatten().tolist() == pytest.approx([0.0, 0.0, 0.1, 0.1])


def test_only_convolutions_are_renormalised():
    net = zfnet(5, input_size=64, width=0.1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(0.5)
    assert renormalize_filters(net) == sum(net.filters(layer).shape[0] for layer in net.conv_names())
    for layer in net.conv_names():
        assert torch.allclose(net.filters(layer), torch.tensor(0.1))
    assert (net.get_submodule("fc6.filter").weight == 0.5).all()
    assert (net.get_submodule("conv1.filter").bias == 0.5).all()


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    maps=st.integers(1, 5),
    channels=st.integers(1, 3),
    scale=st.floats(1e-3, 10),
    radius=st.floats(1e-2, 1),
)
def test_no_filter_exceeds_the_radius_and_directions_are_kept(seed, maps, channels, scale, radius):
    torch.manual_seed(seed)
    layer = nn.Conv2d(channels, maps, 3).double()
    with torch.no_grad():
        layer.weight.mul_(scale / layer.weight.square().mean().sqrt())
    before = layer.weight.detach().clone()
    expected_count = 0
    count = renormalize_filters(layer, radius)
    for old, new in zip(before.flatten(1).tolist(), layer.weight.flatten(1).tolist(), strict=True):
        rms = math.sqrt(sum(w * w for w in old) / len(old))
        factor = radius / rms if rms > radius else 1.0
        assume(not math.isclose(rms, radius, rel_tol=1e-9))
        expected_count += rms > radius
        assert new == pytest.approx([w * factor for w in old], rel=1e-6)
    assert count == expected_count
