import pytest
from torch import nn
from torchvision.models import squeezenet1_0, vit_b_16

from convlens.errors import InputError
from convlens.nets import zfnet
from convlens.ops.default_layers import (
    conv_and_fc_layers,
    default_layers,
    layers_by_number,
    reached_layers,
    sort_layers,
    top_conv_and_fc_layers,
    transfer_layers,
)
from convlens.ops.layer_access import OUTPUT

CONVS = ["conv1", "conv2", "conv3", "conv4", "conv5"]


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.relu = nn.ReLU()
        self.layer1 = nn.Sequential(nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU()), nn.Conv2d(4, 4, 1), nn.MaxPool2d(2))
        self.aux = nn.Conv2d(4, 4, 1)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.layer1(self.relu(self.stem(x))).mean((2, 3)))


def test_a_convnet_defaults_to_its_convolutional_layers():
    assert default_layers(zfnet(10, input_size=64, width=0.1)) == CONVS
    assert default_layers(zfnet(10, input_size=64, width=0.1, removed=[3, 4])) == ["conv1", "conv2", "conv5"]


def test_other_networks_default_to_the_outermost_blocks_with_a_convolution():
    assert default_layers(Residual()) == ["stem", "layer1.0", "layer1.1", "aux"]
    assert default_layers(Residual(), 16) == ["stem", "layer1.0", "layer1.1"]
    assert reached_layers(Residual(), ["head", "aux", "stem"], 16) == ["head", "stem"]


def test_a_network_without_a_convolution_is_an_error():
    with pytest.raises(InputError, match=r"Sequential has no convolution: name the layers with task\.layers="):
        default_layers(nn.Sequential(nn.Flatten(), nn.Linear(12, 3)))


def test_default_layers_of_invariance_and_correspondence():
    assert conv_and_fc_layers(zfnet(3, input_size=64, width=0.1), 64) == ["conv1", "layer1", *CONVS[1:], "fc6", "fc7"]
    assert conv_and_fc_layers(zfnet(3, input_size=64, width=0.1, removed=[7]), 64) == [
        "conv1",
        "layer1",
        *CONVS[1:],
        "fc6",
    ]
    assert conv_and_fc_layers(Residual(), 16) == ["stem", "layer1.0", "layer1.1"]
    assert top_conv_and_fc_layers(zfnet(3, input_size=64, width=0.1), 64) == ["layer5", "fc7"]
    assert top_conv_and_fc_layers(zfnet(3, input_size=64, width=0.1, removed=[7]), 64) == ["layer5", "fc6"]
    assert top_conv_and_fc_layers(Residual(), 16) == ["layer1.1", OUTPUT]


def test_default_layers_of_the_transfer():
    net = zfnet(3, input_size=64, width=0.1)
    assert transfer_layers(net, 64) == ["layer1", "layer2", "layer3", "layer4", "layer5", "fc6", "fc7"]
    assert "features.12" in transfer_layers(squeezenet1_0(), 64)
    blocks = [f"encoder.layers.encoder_layer_{number}" for number in range(12)]
    assert transfer_layers(vit_b_16(image_size=32), 32) == ["conv_proj", *blocks]


def test_layers_by_number():
    net = zfnet(3, input_size=64, width=0.1)
    assert layers_by_number(net, [7, "conv2", 1], 64) == ["fc7", "conv2", "layer1"]
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))
    assert layers_by_number(plain, [2, "1"], 16) == ["2", "1"]
    with pytest.raises(InputError, match="there is no layer 9: 1, 2, 3, 4, 5, 6, 7, or a name, such as fc7"):
        layers_by_number(net, [9], 64)
    with pytest.raises(InputError, match=r"there is no layer 3: this network's layers have names, such as layer1\.1"):
        layers_by_number(Residual(), [3], 16)


def test_layers_are_sorted_from_the_image_to_the_output():
    net = zfnet(3, input_size=64, width=0.1)
    assert sort_layers(net, [OUTPUT, "fc7", "conv1", "layer5", "fc7", "conv5"]) == [
        "conv1", "conv5", "layer5", "fc7", OUTPUT,
    ]  # fmt: skip
