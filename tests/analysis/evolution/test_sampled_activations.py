"""Activations at fixed places of fixed images, against a loop that looks at each image alone."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from convlens.analysis.evolution.sampled_activations import sampled_activations
from convlens.analysis.galleries.selected_units import select_units


class Pictures:
    """Images of noise, with the indices that were asked for."""

    def __init__(self, count: int) -> None:
        self.images = torch.randn(count, 3, 9, 9, generator=torch.Generator().manual_seed(1))
        self.asked: list[int] = []
        self.path, self.labels = Path("pictures"), torch.zeros(count)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index], 0

    def __getitems__(self, keys):
        self.asked += keys
        return self.images[list(keys)], torch.zeros(len(keys))


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 70, 3), nn.ReLU(), nn.Dropout(0.5), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(280, 5)
    )


def test_samples_are_activations_of_the_same_images_and_different_places(net):
    data, loudest = Pictures(300), int(select_units(70, 64)[0])
    with torch.no_grad():  # a map that gives the largest value everywhere
        net[0].weight[loudest], net[0].bias[loudest] = 0, 8
    found = sampled_activations(net, data, ["1", "3", "5"])
    assert len(data.asked) == 128
    assert (data.asked[0], data.asked[-1], len(set(data.asked))) == (0, 299, 128)
    assert max(np.diff(data.asked)) <= 3  # spread over all images, which may be in the order of classes
    assert {layer: values.shape for layer, values in found.items()} == {
        "1": (64, 128 * 8),
        "3": (64, 128 * 4),  # a map of four places has no more
        "5": (5, 128),
    }
    with torch.no_grad():
        maps = net[:2](data.images[data.asked])[:, select_units(70, 64)].flatten(2)
    assert (found["1"][0] == 1).all()
    for row in (1, 63):
        for image in (0, 31, 32, 127):
            samples = torch.from_numpy(8 * found["1"][row].reshape(128, 8)[image].astype(np.float32))
            assert float((maps[image, row][:, None] - samples).abs().amin(0).max()) < 1e-3
        whole = net[:4].eval()(data.images[data.asked])[:, select_units(70, 64)].flatten(2)
    rows = 8 * torch.from_numpy(found["3"].astype(np.float32)).unflatten(1, (128, 4))
    expected = whole.transpose(0, 1).sort(2).values  # all four places, each once
    torch.testing.assert_close(rows.sort(2).values, expected, atol=1e-3, rtol=1e-2)


def test_the_places_of_a_map_are_those_of_the_others(net):
    """Or a correlation between maps, and with it CKA, would mean nothing."""
    with torch.no_grad():
        net[0].weight[:] = net[0].weight[:1]
        net[0].bias[:] = net[0].bias[0]
    values = sampled_activations(net, Pictures(6), ["1"])["1"]
    assert values.any()
    assert (values == values[:1]).all()


def test_a_network_that_has_not_changed_gives_the_same_and_draws_no_random_numbers(net):
    before = torch.get_rng_state()
    net.train()
    first, second = (sampled_activations(net, Pictures(20), ["1", "5"]) for _ in range(2))
    assert all(np.array_equal(first[layer], second[layer]) for layer in first)
    assert first["1"].shape == (64, 20 * 8)
    assert torch.equal(before, torch.get_rng_state())
    assert all(module.training for module in net.modules())
    assert not any(module._forward_hooks for module in net.modules())


def test_large_values_fit_into_halves(net):
    with torch.no_grad():
        net[0].weight.mul_(1e7)
    values = sampled_activations(net, Pictures(4), ["1"])["1"]
    assert np.abs(values).max() == 1
    assert np.isfinite(values).all()


def test_a_layer_that_is_silent_is_zero(net):
    with torch.no_grad():
        net[0].bias.fill_(-1e6)
    assert not sampled_activations(net, Pictures(4), ["1"])["1"].any()
