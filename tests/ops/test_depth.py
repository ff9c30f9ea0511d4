import pytest
from torch import nn
from torch.nn import functional as F
from torchvision.models import resnet18, squeezenet1_0

from convlens.errors import InputError
from convlens.nets import zfnet
from convlens.ops.depth import Depth, layer_depths


def test_the_depth_of_our_layers_is_that_of_the_paper():
    net = zfnet(5, input_size=64, width=0.1)
    found = layer_depths(net, [*net.conv_names(), "layer1", "layer5"], 64)
    pools = {"conv1": 0, "conv2": 1, "conv3": 2, "conv4": 2, "conv5": 2, "layer1": 1, "layer5": 3}
    assert found == {layer: Depth(int(layer[-1]), count) for layer, count in pools.items()}


def test_branches_and_pools_of_other_networks_count():
    assert layer_depths(squeezenet1_0(num_classes=3), ["features.0", "features.3", "features.12"], 67) == {
        "features.0": Depth(1, 0),
        "features.3": Depth(4, 1),  # a fire module has three convolutions
        "features.12": Depth(25, 3),
    }
    assert layer_depths(resnet18(), ["conv1", "layer1.0"], 64) == {"conv1": Depth(1, 0), "layer1.0": Depth(3, 1)}


def test_functional_and_adaptive_pools_count():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.last, self.pool = nn.Conv2d(3, 2, 3), nn.Conv2d(2, 2, 1), nn.AdaptiveMaxPool2d(2)

        def forward(self, x):
            return self.pool(self.last(F.max_pool2d(self.conv(x), 2)))

    assert layer_depths(Net(), ["last", "pool"], 12) == {"last": Depth(2, 1), "pool": Depth(2, 2)}


def test_an_unknown_layer_is_refused():
    with pytest.raises(InputError, match="unknown layer 'conv9'"):
        layer_depths(zfnet(5, input_size=64, width=0.1), ["conv9"], 64)
