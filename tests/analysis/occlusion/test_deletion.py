import numpy as np
import pytest
import torch
from torch import Tensor, nn

from convlens.analysis.occlusion.deletion import deletion_curves, deletion_table
from convlens.analysis.occlusion.occlude import occlude, strongest_map
from convlens.nets import zfnet
from convlens.ops.layer_access import reading


class Weighted(nn.Module):
    """Two maps that are multiples of the pixels; the second one's ReLU works in place."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        with torch.no_grad():
            self.conv.weight.copy_(torch.tensor([1.0, -2.0]).view(2, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        maps = self.conv(x)
        return self.relu(maps).mul_(0).mean((2, 3))


def test_curves_by_hand():
    image = torch.tensor([[[4.0, 3.0], [2.0, 1.0]]])
    found = deletion_curves(
        Weighted(), image, torch.zeros(1, 2, 2), "conv", 0, {"right": image[0], "wrong": -image[0]}, 4
    )
    assert found.share.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert found.deletion["right"] == pytest.approx([1, 0.6, 0.3, 0.1, 0])
    assert found.insertion["right"] == pytest.approx([0, 0.4, 0.7, 0.9, 1])
    assert found.deletion["wrong"] == pytest.approx([1, 0.9, 0.7, 0.4, 0])
    # Trapezoids: (1 / 2 + 0.6 + 0.3 + 0.1 + 0) / 4.
    assert found.areas("deletion") == pytest.approx({"right": 0.375, "wrong": 0.625})
    assert found.areas("insertion") == pytest.approx({"right": 0.625, "wrong": 0.375})


def test_a_map_without_activation_has_no_curves():
    image = torch.ones(1, 2, 2)
    assert deletion_curves(Weighted(), image, image * 0, "conv", 1, {"a": image[0]}) is None


def test_curves_are_those_of_whole_images():
    torch.manual_seed(0)
    net, image = zfnet(5, input_size=64, width=0.1, init="he").eval(), torch.randn(3, 64, 64)
    energy, occluder = torch.rand(64, 64), torch.randn(3, 64, 64)
    number = strongest_map(net, image, "conv3")
    found = deletion_curves(net, image, occluder, "conv3", number, {"a": energy}, 3)
    threshold = energy.flatten().sort(descending=True).values
    for step, count in enumerate((0, 1365, 2731, 4096)):
        top = energy >= threshold[count - 1] if count else torch.zeros(64, 64, dtype=torch.bool)
        with torch.no_grad(), reading(net, ["conv3"]) as outputs:
            net(torch.where(top, occluder, image)[None])
            net(image[None])
        removed, clean = (output[0, number].sum().item() for output in outputs["conv3"])
        assert found.deletion["a"][step] == pytest.approx(removed / clean, rel=1e-4)


def test_the_table_has_the_deconvnet_first_and_differences_to_it():
    image = torch.tensor([[[4.0, 3.0], [2.0, 1.0]]])
    curves = [
        deletion_curves(Weighted(), image * k, image * 0, "conv", 0, {"deconvnet": image[0], "edges": -image[0]}, 4)
        for k in (1, 2, 3)
    ]
    (table,) = deletion_table(curves)
    assert [row[0] for row in table.rows] == ["deconvnet", "edges"]
    assert table.rows[0][1].startswith("0.375")
    assert table.rows[1][2].startswith("-0.250")
    assert table.rows[1][4].startswith("0.250")
    assert deletion_table([]) == []


def test_the_strongest_map_by_peak_and_by_sum():
    class Maps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(torch.cat([x, (x > 0).float() * 2, -9 * x], 1)).mean((2, 3))

    image = torch.zeros(1, 4, 4)
    image[0, 0, 0] = 5
    image[0, 1:3] = 0.1
    # Peaks 5, 2 and 0; sums 5.8, 18 and 0.
    assert strongest_map(Maps(), image, "layer") == 0
    assert strongest_map(Maps(), image, "layer", "sum") == 1
    assert occlude(Maps(), image, None, layer="layer", size=2, stride=1).map == 0
    assert np.isfinite(occlude(Maps(), image, None, layer="layer", size=2, stride=1).activation.numpy()).all()
