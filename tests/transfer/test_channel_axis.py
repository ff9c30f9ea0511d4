"""The channel axis of layers' outputs where sizes do not tell it, and what follows for features."""

import pytest
import torch
import torchvision
from torch import Tensor, nn

from convlens.nets import zfnet
from convlens.transfer.channel_axis import tracing_channel_axes
from convlens.transfer.features import extract_features


def axes_of(net: nn.Module, layers: list[str], shape: tuple[int, ...]) -> dict[str, int]:
    with torch.no_grad(), tracing_channel_axes(net.eval(), layers) as axes:
        net(torch.randn(shape, generator=torch.Generator().manual_seed(0)))
    return axes


class ChannelsLast(nn.Module):
    """Tokens of patches as maps [n, h, w, c], as in Swin, then back to [n, c, h, w]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, channels, 4, 4)
        self.norm = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(nn.Linear(channels, 2 * channels), nn.GELU(), nn.Linear(2 * channels, channels))
        self.maps, self.residual = nn.Identity(), nn.Identity()
        self.back = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = self.norm(x)
        x = self.maps(x.reshape(len(x), 5, -1, x.shape[-1]))
        x = self.residual(x + self.mlp(x))
        return self.back(x.permute(0, 3, 1, 2))


@pytest.mark.parametrize("channels", [5, 8, 4])  # as many as rows, as columns, as neither
@pytest.mark.parametrize(("height", "width"), [(20, 32), (20, 20)])
def test_maps_with_channels_last_are_transposed_whatever_their_size(channels, height, width):
    net = ChannelsLast(channels)
    images = torch.randn(2, 3, height, width)
    layers = ["patches", "norm", "maps", "mlp", "residual", "back"]
    assert axes_of(net, layers, (2, 3, height, width)) == {
        "patches": 1, "norm": 2, "maps": 3, "mlp": 3, "residual": 3, "back": 1,
    }  # fmt: skip
    found = extract_features(net, [images], layers)
    torch.testing.assert_close(found["residual"], net(images).flatten(1))
    torch.testing.assert_close(found["back"], net(images).flatten(1))
    torch.testing.assert_close(found["patches"], net.patches(images).flatten(1))
    pooled = extract_features(net, [images], ["residual"], pool_size=1)["residual"]
    torch.testing.assert_close(pooled, net(images).mean((2, 3)))
    tokens = extract_features(net, [images], ["norm"])["norm"]
    torch.testing.assert_close(tokens, net.norm(net.patches(images).flatten(2).mT).flatten(1))


@pytest.mark.parametrize("size", [(6, 9), (9, 6), (6, 6)])
def test_maps_with_as_many_channels_as_rows_or_columns_are_kept(size):
    net = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(6))
    images = torch.randn(2, 3, *size)
    found = extract_features(net, [images], ["0", "2", "3"])
    torch.testing.assert_close(found["2"], net.eval()[:3](images).flatten(1))
    torch.testing.assert_close(found["3"], net(images).flatten(1))


def test_linear_layers_without_a_convolution_have_their_channels_last():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.norm = nn.Linear(48, 4), nn.LayerNorm(4)

        def forward(self, x: Tensor) -> Tensor:
            patches = x.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5).flatten(3)
            return self.norm(self.embed(patches))

    assert axes_of(Net(), ["embed", "norm"], (1, 3, 16, 16)) == {"embed": 3, "norm": 3}


def test_concatenation_and_scaling_keep_the_axis():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.scale = nn.Conv2d(3, 4, 1), nn.Parameter(torch.ones(8, 1, 1))
            self.cat, self.last = nn.Identity(), nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            x = self.cat(torch.cat([self.conv(x), self.conv(x)], 1))
            return self.last((self.scale * x).movedim(1, -1).contiguous())

    assert axes_of(Net(), ["cat", "last"], (1, 3, 8, 8)) == {"cat": 1, "last": 3}


def test_networks_of_torchvision_and_ours():
    swin = torchvision.models.SwinTransformer([4, 4], 12, [2, 2], [2, 2], [4, 4])
    layers = ["features.0", "features.1", "features.2", "features.3", "norm", "permute"]
    axes = axes_of(swin, layers, (1, 3, 48, 48))
    assert axes == {name: 1 if name == "permute" else 3 for name in layers}
    convnext = torchvision.models.convnext_tiny()
    layers = ["features.0", "features.1.0.block.1", "features.1.0.block.3", "features.1.0", "features.7"]
    assert list(axes_of(convnext, layers, (1, 3, 64, 64)).values()) == [1, 3, 3, 1, 1]
    maxvit = torchvision.models.MaxVit((64, 64), 16, 4, [16], [1], 8, 0.0)  # reads one size of images only
    layers = ["stem", "blocks.0.layers.0.layers.window_attention", "blocks.0"]
    assert list(axes_of(maxvit, layers, (1, 3, 64, 64)).values()) == [1, 1, 1]
    net = zfnet(3, input_size=64, width=0.1)
    assert set(axes_of(net, ["conv1", "layer1", "layer5"], (1, 3, 64, 64)).values()) == {1}
    vit = torchvision.models.VisionTransformer(32, 8, 1, 2, 12, 24)
    found = extract_features(vit, [torch.randn(2, 3, 32, 32)], ["encoder.layers"], pool_size=1)
    assert found["encoder.layers"].shape == (2, 12)
