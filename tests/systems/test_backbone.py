"""Loaded layers that learn at a share of the rate, or not at all."""

import functools

import pytest
import torch
from torch import nn

from convlens.systems import Classifier
from tests.systems.test_classifier import TRAIN, fit, small_net, weights

BACKBONE = ("0.weight", "0.bias", "2.weight", "2.bias")
MAKERS = {
    "SGD": functools.partial(torch.optim.SGD, lr=0.2, momentum=0.9, weight_decay=1e-3),
    "AdamW": functools.partial(torch.optim.AdamW, lr=1e-2, weight_decay=0.1),
}


def bare_loop(net: nn.Module, make: functools.partial, scale: float, epochs: int) -> None:
    """The same without a framework: a group with a learning rate of its own."""
    lr = make.keywords["lr"]
    named = dict(net.named_parameters())
    groups = [
        {"params": [p for name, p in named.items() if name not in BACKBONE], "lr": lr},
        {"params": [named[name] for name in BACKBONE], "lr": lr * scale},
    ]
    optimizer = make(groups)
    for _ in range(epochs):
        for images, labels in TRAIN:
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(images), labels).backward()
            optimizer.step()


@pytest.mark.parametrize("scale", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("maker", MAKERS)
def test_the_backbone_learns_at_its_share_of_the_rate(tmp_path, maker, scale):
    net, expected = small_net(), small_net()
    system = Classifier(net, MAKERS[maker], backbone=BACKBONE, backbone_lr_scale=scale)
    watch = fit(system, tmp_path, epochs=2)
    bare_loop(expected, MAKERS[maker], scale, 2)
    torch.testing.assert_close(weights(net), weights(expected), rtol=0, atol=1e-5)
    assert set(watch.rates) == {MAKERS[maker].keywords["lr"]}  # what is logged is the new layers'


def test_a_schedule_moves_both_rates_alike(tmp_path):
    rates = []

    class Seen(torch.optim.SGD):
        def step(self, closure=None):
            rates.append([group["lr"] for group in self.param_groups])
            return super().step(closure)

    one_cycle = functools.partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=0.1)
    system = Classifier(
        small_net(), functools.partial(Seen, lr=0.1, momentum=0.9), one_cycle, backbone=BACKBONE, backbone_lr_scale=0.1
    )
    fit(system, tmp_path)
    assert len(rates) == 20
    assert max(rate for rate, _ in rates) == pytest.approx(0.1, rel=0.01)
    assert [backbone for _, backbone in rates] == pytest.approx([rate / 10 for rate, _ in rates])


def test_frozen_filters_are_not_renormalised(tmp_path):
    net = small_net()
    net[0].weight.data.fill_(0.5)
    fit(Classifier(net, MAKERS["SGD"], max_filter_rms=0.1, backbone=BACKBONE, backbone_lr_scale=0), tmp_path, epochs=1)
    assert (net[0].weight == 0.5).all()
