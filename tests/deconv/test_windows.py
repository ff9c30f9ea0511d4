"""Projections in windows against projections through whole images."""

import logging
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import models

from convlens.deconv import backward, project, project_fields, window_batching
from convlens.deconv.backward import Projector, backward_mode
from convlens.deconv.fast_conv import transpose_by_phases
from convlens.deconv.forward_cache import cache_forward
from convlens.deconv.project import FieldProjector, paste
from convlens.deconv.window_batching import group_units
from convlens.errors import InputError
from convlens.nets import alexnet, zfnet
from convlens.ops.receptive_field import ReceptiveField, receptive_field, traced_fields
from tests.deconv.random_nets import RandomNet, steps

RULES = ("deconvnet", "gradient", "guided")


def whole(net: nn.Module, images: Tensor, layer: str, units: list, rule: str, unpool: str, lrn: str) -> Tensor:
    """Projections by passes over whole images."""
    projector = Projector.from_images(net, images, layer, rule, "activation", unpool, lrn, 8)
    assert projector.field is not None
    projector.field = None
    projections = torch.zeros(len(units), *images.shape[1:], dtype=images.dtype)
    with backward_mode(net):
        for rows, signals, _ in projector.project(images, torch.tensor(units)):
            projections[rows] = signals
    return projections


def windowed(caplog, net: nn.Module, images: Tensor, layer: str, units: list, *options: str) -> Tensor:
    with caplog.at_level(logging.INFO):
        rule, unpool, lrn = options
        found = project(net, images, layer, units, rule=rule, unpool=unpool, lrn=lrn)
    assert "whole images are projected" not in caplog.text
    return found


def close(ours: Tensor, expected: Tensor, share: float) -> None:
    assert expected.abs().max() > 0
    torch.testing.assert_close(ours, expected, rtol=0, atol=share * expected.abs().max().item())


def places(shape: torch.Size, images: int, seed: int) -> list[tuple[int, int, int, int]]:
    """Units in all corners, on the edges and inside."""
    maps, height, width = shape
    rows, columns = (sorted({0, n // 2, n - 1}) for n in (height, width))
    generator = torch.Generator().manual_seed(seed)
    pick = torch.randint(10**6, (len(rows) * len(columns), 2), generator=generator).tolist()
    spots = [(y, x) for y in rows for x in columns]
    return [(i % images, m % maps, y, x) for (i, m), (y, x) in zip(pick, spots, strict=True)]


def shape_of(net: nn.Module, images: Tensor, layer: str) -> torch.Size:
    kept: list[torch.Size] = []
    handle = net.get_submodule(layer).register_forward_hook(lambda *call: kept.append(call[2].shape[1:]))
    with torch.no_grad():
        net(images)
    handle.remove()
    return kept[0]


@pytest.mark.parametrize(
    ("corner", "expected"),
    [
        ((0, 0), [[1, 2, 3, 0], [4, 5, 6, 0], [7, 8, 9, 0]]),
        ((-1, -2), [[6, 0, 0, 0], [9, 0, 0, 0], [0, 0, 0, 0]]),
        ((2, 3), [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]]),
        ((1, -1), [[0, 0, 0, 0], [2, 3, 0, 0], [5, 6, 0, 0]]),
        ((-3, 0), [[0] * 4] * 3),
        ((0, 4), [[0] * 4] * 3),
    ],
)
def test_a_signal_is_pasted_where_it_lies_and_cropped_at_the_edges(corner, expected):
    target = torch.zeros(1, 3, 4)
    paste(torch.arange(1.0, 10).reshape(1, 3, 3), target, corner)
    assert target[0].tolist() == expected


CASES = {
    "alexnet": (lambda: alexnet(5, input_size=99, width=0.2, init="he"), 99, [f"conv{i}" for i in range(1, 6)]),
    "zfnet": (lambda: zfnet(5, input_size=99, width=0.2, init="he"), 99, [f"conv{i}" for i in range(1, 6)]),
    "vgg11": (lambda: models.vgg11(num_classes=3).features, 67, ["1", "4", "9", "14", "19"]),
    "squeezenet": (lambda: models.squeezenet1_0(num_classes=3), 67, [f"features.{i}" for i in (1, 3, 5, 7, 10, 12)]),
    "resnet18": (lambda: models.resnet18(num_classes=3), 67, ["relu", "layer1.1", "layer2.0", "layer3.1", "layer4.1"]),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name == "vgg11" else ()) for name in CASES]
)
def test_in_known_networks_at_corners_edges_and_inside(name, caplog):
    torch.manual_seed(1)
    build, size, layers = CASES[name]
    net, images = build().eval(), torch.randn(2, 3, size, size) * 50
    for number, layer in enumerate(layers):
        units = places(shape_of(net, images, layer), 2, number)
        # Each rule and each unpooling meets each kind of layer in one of the networks.
        unpool = ("sum", "overwrite", "centre")[number % 4 % 3]
        options = (RULES[number % 3], unpool, "adjoint" if number > 2 else "identity")
        close(windowed(caplog, net, images, layer, units, *options), whole(net, images, layer, units, *options), 1e-5)


@settings(max_examples=30, deadline=None)
@given(
    steps,
    st.integers(12, 31),
    st.integers(12, 31),
    st.sampled_from(RULES),
    st.sampled_from(["sum", "overwrite", "centre"]),
    st.booleans(),
    st.integers(0, 99),
)
def test_in_random_networks(steps, height, width, rule, unpool, adjoint, seed):
    torch.manual_seed(seed)
    net, images = RandomNet(steps).double().eval(), torch.randn(2, 4, height, width, dtype=torch.float64)
    try:
        with torch.no_grad():
            shape = net(images).shape[1:]
        assert min(shape) > 0
    except (RuntimeError, AssertionError):
        return  # nothing is left of the images
    options = (rule, unpool, "adjoint" if adjoint else "identity")
    if not traced_fields(net, images, ["last"])["last"].local:
        return
    units = places(shape, 2, seed)
    with patch("convlens.deconv.backward.log.info") as said:
        ours = project(net, images, "last", units, rule=rule, unpool=options[1], lrn=options[2])
        projector = Projector.from_images(net, images, "last", rule, "activation", options[1], options[2], 8)
        recorded = torch.zeros_like(ours)
        with backward_mode(net):
            for rows, signals, corners in projector.project(
                images, torch.tensor(units), cache_forward(net, images, ["last"])
            ):
                for row, signal, corner in zip(rows, signals, corners, strict=True):
                    paste(signal, recorded[row], corner)
    said.assert_not_called()
    expected = whole(net, images, "last", units, *options)
    for found in (ours, recorded):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-10 * max(1.0, expected.abs().max().item()))


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(-6, 2)),
    st.tuples(st.integers(1, 9), st.integers(1, 4), st.integers(-6, 2)),
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=30),
    st.integers(1, 500),
)
def test_each_unit_is_in_one_group_whose_window_contains_its_receptive_field(vertical, horizontal, places, pixels):
    field = ReceptiveField(*((vertical[i], horizontal[i]) for i in range(3)))
    sizes = (11, 13)
    with patch.object(window_batching, "PIXELS_PER_GROUP", pixels):
        found = list(group_units(field, torch.tensor(places), sizes))
    assert sorted(row for rows, _ in found for row in rows) == list(range(len(places)))
    for rows, grid in found:
        for row in rows:
            for axis in (0, 1):
                low = field.start[axis] + places[row][axis] * field.stride[axis]
                seen = set(range(low, low + field.size[axis])) & set(range(sizes[axis]))
                if not seen:
                    continue  # padding alone
                length = grid[axis].bounds[1] - grid[axis].bounds[0]
                begin = grid[axis].begin(places[row][axis])
                assert seen <= set(range(begin, begin + length))
                assert begin >= 0
                assert begin + length <= sizes[axis]


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(*[st.integers(1, 7)] * 2), st.tuples(*[st.integers(1, 4)] * 2), st.tuples(*[st.integers(0, 3)] * 2),
    st.integers(1, 4), st.integers(1, 5), st.integers(1, 5),
)  # fmt: skip
def test_a_transposed_convolution_by_phases_is_torchs_own(kernel, stride, rest, channels, height, width):
    torch.manual_seed(0)
    weight = torch.randn(6, channels, *kernel, dtype=torch.float64)
    signal = torch.randn(2, 6, height, width, dtype=torch.float64)
    rest = tuple(min(rest[axis], stride[axis] - 1) for axis in (0, 1))
    expected = F.conv_transpose2d(signal, weight, stride=stride, output_padding=rest)
    found = transpose_by_phases(signal, weight, stride, (expected.shape[2], expected.shape[3]))
    torch.testing.assert_close(found, expected)


def test_a_forward_pass_is_shared_by_the_units_of_an_image():
    """Nine units of each image, which are forward passes of their windows or one of the image."""
    torch.manual_seed(0)
    net, images = zfnet(5, input_size=67, width=0.1, init="he"), torch.randn(2, 3, 67, 67) * 50
    units = [(i % 2, i, 1, 1) for i in range(18)]
    plain = project(net, images, "conv4", units)
    with patch.object(backward, "cache_forward", side_effect=cache_forward) as made:
        with patch.object(backward, "MIN_AREA_RATIO", 1e-9):
            shared = project(net, images, "conv4", units)
        assert made.call_count == 1
        with patch.object(backward, "MIN_AREA_RATIO", 1e9):
            project(net, images, "conv4", units)
        assert made.call_count == 1
    close(shared, plain, 1e-5)


def test_a_cache_of_another_pass_is_not_read():
    """Convolutions that were not those of these images of this network are computed anew."""
    torch.manual_seed(0)
    net, images = zfnet(5, input_size=67, width=0.1, init="he"), torch.randn(2, 3, 67, 67) * 50
    other = zfnet(5, input_size=67, width=0.1, init="he")
    projector = FieldProjector(net, images, "conv3")
    units = [(1, 2, 2, 1), (0, 1, 0, 0)]
    assert torch.equal(projector(images, units, cache_forward(other, images, ["conv3"])), projector(images, units))


def test_units_that_see_padding_alone_do_not_keep_the_others_from_their_windows(caplog):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 1, padding=2), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Softplus(), nn.ReLU())
    images, units = torch.randn(2, 3, 9, 9), [(0, 0, 0, 0), (1, 1, 5, 5), (0, 2, 10, 3), (1, 3, 4, 0)]
    options = ("gradient", "sum", "identity")
    close(windowed(caplog, net, images, "4", units, *options), whole(net, images, "4", units, *options), 1e-6)


def test_an_activation_that_is_not_finite_is_an_error():
    net = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU())
    nn.init.constant_(net[0].weight, torch.nan)
    with pytest.raises(InputError, match="layer '1' has an activation that is NaN or infinite: has the network"):
        project(net, torch.zeros(1, 3, 9, 9), "1", [(0, 0, 2, 2)])


def test_images_of_another_size_are_refused_by_a_projector():
    net = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU())
    projector = FieldProjector(net, torch.randn(1, 3, 9, 9), "1")
    with pytest.raises(InputError, match=r"images of shape \[3, 9, 8\] after \[3, 9, 9\]: give one size"):
        projector(torch.randn(1, 3, 9, 8), [(0, 0, 2, 2)])


def test_fields_are_the_projections_cut_out():
    torch.manual_seed(0)
    net, images = zfnet(5, input_size=67, width=0.1, init="he"), torch.randn(2, 3, 67, 67) * 50
    field = receptive_field(net, "conv2", (67, 67))
    units = places(shape_of(net, images, "conv2"), 2, 0)
    fields, full = project_fields(net, images, "conv2", units), project(net, images, "conv2", units)
    for unit, cut, projection in zip(units, fields, full, strict=True):
        top, left, bottom, right = field.box(*unit[2:])
        inside = projection[:, max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
        start = (max(-top, 0), max(-left, 0))
        assert torch.equal(cut[:, start[0] : start[0] + inside.shape[1], start[1] : start[1] + inside.shape[2]], inside)
        assert cut.abs().sum() == pytest.approx(inside.abs().sum().item())


class Odd(nn.Module):
    """A local layer that cannot be computed in windows."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.conv = how, nn.Conv2d(3, 4, 3, padding=1)
        self.places = nn.Parameter(torch.randn(1, 4, 12, 12))

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        if self.how == "places":
            y = y + self.places
        elif self.how == "shape":
            y = y.view(-1, 4, 12, 12)
        elif self.how == "average":
            y = F.avg_pool2d(y, 3, 1, 1, count_include_pad=False)
        return F.relu(y)


@pytest.mark.parametrize("how", ["places", "shape", "average"])
def test_whole_images_are_used_if_windows_are_impossible_with_one_message(how, caplog):
    torch.manual_seed(0)
    net, images = nn.Sequential(Odd(how)).eval(), torch.randn(2, 3, 12, 12)
    units = places(torch.Size((4, 12, 12)), 2, 0)
    with caplog.at_level(logging.INFO):
        ours = project(net, images, "0", units)
    assert caplog.text.count("0: whole images are projected instead of windows") == 1
    close(ours, whole(net, images, "0", units, "deconvnet", "sum", "identity"), 1e-6)


def test_a_network_without_a_relu_below_the_unit_is_refused_in_windows_too():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.SiLU())
    with pytest.raises(InputError, match="no ReLU below the unit; it uses silu"):
        project(net, torch.randn(1, 3, 9, 9), "1", [(0, 0, 2, 2)])
