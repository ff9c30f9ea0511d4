"""Errors in a forward pass: those of the network and those of what reads its layers."""

import pytest
import torch
from torch import nn

from convlens.ops.layer_access import OUTPUT, UnreadableError, forward_to

IMAGES = torch.randn(2, 3, 8, 8)


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))


@pytest.mark.parametrize("layer", ["0", "2", OUTPUT])
@pytest.mark.parametrize("error", [KeyError("own bug"), RuntimeError("own bug"), ZeroDivisionError("own bug")])
def test_an_error_of_what_reads_a_layer_is_not_the_networks(layer, error):
    def consume(output: torch.Tensor) -> None:
        raise error

    with pytest.raises(type(error), match="own bug") as caught:
        forward_to(network(), IMAGES, {layer: consume, "1": lambda output: None})
    assert caught.value is error


def test_an_error_of_the_network_is():
    with pytest.raises(UnreadableError, match=r"Sequential cannot read images of shape \[2, 3, 9, 8\]"):
        forward_to(network(), torch.randn(2, 3, 9, 8), {OUTPUT: lambda output: None})
