import math
import re

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision import models

import convlens
from convlens.analysis.occlusion.faithfulness import peak_unit
from convlens.analysis.occlusion.occlude import OcclusionMaps, default_occluder, occlude, positions
from convlens.errors import InputError
from convlens.nets import zfnet


def literal(net: nn.Module, image: Tensor, target: int, size: int, stride: int, value: Tensor, layer: str, number: int):
    """Run the network on a whole image for each position, in float64."""
    net, image = net.double().eval(), image.double()
    height, width = image.shape[1:]
    tops = [t for t in range(height) if t + size <= height and (t % stride == 0 or t + size == height)]
    lefts = [t for t in range(width) if t + size <= width and (t % stride == 0 or t + size == width)]
    found = {name: torch.zeros(len(tops), len(lefts), dtype=torch.float64) for name in "pla"}
    outputs: list[Tensor] = []
    handle = net.get_submodule(layer).register_forward_hook(lambda *call: outputs.append(call[2].clone()))
    for i, top in enumerate(tops):
        for j, left in enumerate(lefts):
            occluded = image.clone()
            occluded[:, top : top + size, left : left + size] = value.double()[:, top : top + size, left : left + size]
            with torch.no_grad():
                output = net(occluded[None])[0]
            found["p"][i, j] = output.softmax(0)[target]
            found["l"][i, j] = output.argmax()
            found["a"][i, j] = outputs.pop()[0, number].clamp(min=0).sum()
    handle.remove()
    return tops, lefts, found


@pytest.mark.parametrize(
    ("build", "side", "layer"),
    [
        (lambda: zfnet(5, input_size=64, width=0.2, init="he"), 64, "conv5"),
        (lambda: models.squeezenet1_1(num_classes=5), 67, "features.6"),
        (lambda: models.resnet18(num_classes=5), 48, "layer2.0.conv2"),
    ],
)
@pytest.mark.parametrize(("size", "stride"), [(14, 9), (5, 20)])
def test_maps_equal_those_of_whole_images(build, side, layer, size, stride):
    torch.manual_seed(0)
    net, image, value = build().eval(), torch.randn(3, side, side), torch.randn(3, side, side)
    ours = occlude(net, image, 3, size=size, stride=stride, value=value, layer=layer)
    tops, lefts, expected = literal(net, image, 3, size, stride, value, layer, ours.map)
    assert (ours.tops.tolist(), ours.lefts.tolist()) == (tops, lefts)
    torch.testing.assert_close(ours.probability.double(), expected["p"], rtol=0, atol=1e-5)
    assert ours.label.tolist() == expected["l"].long().tolist()
    scale = expected["a"].max().item()
    torch.testing.assert_close(ours.activation.double(), expected["a"], rtol=0, atol=1e-5 * scale)


class Mean(nn.Module):
    """Two classes: the mean of the image, and nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(1, 1, 1, bias=False)
        nn.init.ones_(self.a.weight)

    def forward(self, x: Tensor) -> Tensor:
        mean = self.a(x).mean((1, 2, 3))
        return torch.stack([mean, mean * 0], 1)


def test_by_hand():
    # 4 x 4 ones, an occluder of 2 x 2 twos: sum 12 of ones and 8 of twos, mean 20 / 16.
    found = occlude(Mean(), torch.ones(1, 4, 4), 0, size=2, stride=2, value=2.0, layer="a")
    assert found.tops.tolist() == found.lefts.tolist() == [0, 2]
    expected = 1 / (1 + math.exp(-20 / 16))
    assert found.probability.flatten().tolist() == pytest.approx([expected] * 4)
    assert found.clean_probability == pytest.approx(1 / (1 + math.exp(-1)))
    assert found.activation.flatten().tolist() == [20.0] * 4
    assert (found.clean_activation, found.map, found.clean_label) == (16.0, 0, 0)
    assert found.drop.flatten().tolist() == pytest.approx([found.clean_probability - expected] * 4)


def test_the_strongest_map_is_the_one_with_the_greatest_activation():
    torch.manual_seed(0)
    net, image = zfnet(5, input_size=64, width=0.2, init="he").eval(), torch.randn(3, 64, 64)
    outputs: list[Tensor] = []
    net.get_submodule("conv3").register_forward_hook(lambda *call: outputs.append(call[2]))
    with torch.no_grad():
        net(image[None])
    expected = int(outputs[0][0].flatten(1).amax(1).argmax())
    assert occlude(net, image, None, size=60, stride=4, layer="conv3").map == expected
    assert peak_unit(net, image, "conv3", expected)[2:] == divmod(
        int(outputs[0][0, expected].argmax()), outputs[0].shape[-1]
    )


def test_positions_and_defaults_in_proportion_to_the_paper():
    assert default_occluder(224) == (50, 6)
    assert default_occluder(112) == (25, 3)
    assert default_occluder(4) == (1, 1)
    assert len(positions(224, 50, 6)) == 30
    assert positions(224, 16, 4)[-1] == 208  # Krypton drops this one
    assert len(positions(224, 16, 4)) == 53
    assert positions(10, 4, 4) == [0, 4, 6]
    assert positions(10, 10, 3) == [0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 65}, "an occluder of 65 px does not fit in an image of 64 px: give a size from 1 to 64"),
        ({"size": 0}, "an occluder of 0 px does not fit"),
        ({"stride": 0}, "the occluder's stride is 0 px: give at least 1"),
        ({"target": 5}, "label 5 is out of range: the network has the classes 0 to 4"),
        ({"target": -1}, "label -1 is out of range"),
        ({"target": None}, "occlude needs a target, a layer, or both"),
        ({"layer": "conv9"}, "unknown layer 'conv9'"),
        ({"layer": "conv1", "map": 99}, "map 99 of conv1 is out of range: give 0 to"),
        ({"image": torch.zeros(3, 50, 64)}, "built for images of 64 x 64 px and got 50 x 64 px"),
    ],
)
def test_invalid_arguments_are_refused(change, message):
    net = zfnet(5, input_size=64, width=0.1).eval()
    given = {"image": torch.randn(3, 64, 64), "target": 1} | change
    with pytest.raises(InputError, match=message):
        occlude(net, given.pop("image"), given.pop("target"), **given)


def test_a_target_needs_class_scores():
    with pytest.raises(InputError, match="one score for each class is needed"):
        occlude(nn.Conv2d(3, 2, 3), torch.zeros(3, 8, 8), 0, size=2, stride=2)


def test_occlude_is_a_verb_of_the_library():
    assert convlens.occlude is occlude


@pytest.mark.parametrize("convert", [np.int64, np.uint8, torch.tensor])
def test_targets_and_maps_may_be_integers_of_any_kind(convert):
    torch.manual_seed(0)
    net, image = zfnet(5, input_size=64, width=0.1, init="he").eval(), torch.randn(3, 64, 64)
    expected = occlude(net, image, 3, size=40, stride=20, layer="conv2", map=2)
    found = occlude(net, image, convert(3), size=40, stride=20, layer="conv2", map=convert(2))
    assert (type(found.target), type(found.map)) == (int, int)
    assert torch.equal(found.probability, expected.probability)
    assert torch.equal(found.activation, expected.activation)


def test_progress_counts_positions_and_memory_bound_changes_nothing():
    torch.manual_seed(0)
    net, image = zfnet(5, input_size=64, width=0.1, init="he").eval(), torch.randn(3, 64, 64)
    counts: list[int] = []
    expected = occlude(net, image, 3, size=14, stride=9, on_progress=counts.append)
    assert sum(counts) == expected.probability.numel()
    assert len(counts) < sum(counts)
    bounded: list[int] = []
    found = occlude(net, image, 3, size=14, stride=9, max_elements=2**13, on_progress=bounded.append)
    assert sum(bounded) == sum(counts)
    assert len(bounded) > len(counts)
    torch.testing.assert_close(found.probability, expected.probability, rtol=0, atol=1e-6)


def test_repr_has_shapes_and_a_drop_needs_a_target():
    maps = OcclusionMaps(torch.arange(3), torch.arange(2), 5, activation=torch.tensor([[1.0, 2], [3, 4], [5, 6.5]]))
    assert "size=5" in repr(maps)
    assert "activation=[3, 2] 1..6.5" in repr(maps)
    assert "tensor(" not in repr(maps)
    with pytest.raises(InputError, match=re.escape("these maps have no probability: call occlude with a target")):
        _ = maps.drop
