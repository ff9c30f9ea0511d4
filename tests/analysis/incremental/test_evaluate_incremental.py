"""Incremental evaluation against whole images."""

import logging
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import models

from convlens.analysis.incremental import box_windows
from convlens.analysis.incremental.boxes import ChangedRegion, union
from convlens.analysis.incremental.evaluate import Reading, evaluate_incremental
from convlens.analysis.incremental.forward import IncrementalForward
from convlens.nets import alexnet, zfnet
from convlens.ops.layer_access import OUTPUT
from convlens.ops.op_table import Window
from tests.deconv.random_nets import RandomNet, steps


def literal(net: nn.Module, image: Tensor, boxes: Tensor, instead: Tensor, layers: list[str]) -> dict[str, Tensor]:
    """Whole images, one at a time, in float64."""
    net = net.double().eval()
    found: dict[str, list[Tensor]] = {layer: [] for layer in layers}
    handles = [
        net.get_submodule(layer).register_forward_hook(
            lambda m, a, output, kept=found[layer]: kept.append(output.clone())
        )
        for layer in layers
        if layer != OUTPUT
    ]
    for number, (top, left, bottom, right) in enumerate(boxes.tolist()):
        covered = image.double().clone()
        covered[:, top:bottom, left:right] = instead.double()[number % len(instead), :, top:bottom, left:right]
        with torch.no_grad():
            output = net(covered[None])
        if OUTPUT in layers:
            found[OUTPUT].append(output)
    for handle in handles:
        handle.remove()
    return {layer: torch.cat(outputs) for layer, outputs in found.items()}


def close(ours: Tensor, expected: Tensor, share: float = 1e-5) -> None:
    assert expected.abs().max() > 0
    torch.testing.assert_close(ours.double(), expected, rtol=0, atol=share * expected.abs().max().item())


def boxes_in(height: int, width: int, sides: list[tuple[int, int]]) -> Tensor:
    """Boxes in all corners, on the edges and inside, of several sizes."""
    found = []
    for rows, columns in sides:
        for top in sorted({0, (height - rows) // 2, height - rows}):
            for left in sorted({0, (width - columns) // 2, width - columns}):
                found.append([top, left, top + rows, left + columns])
    return torch.tensor(found)


KNOWN = {
    "our alexnet": (lambda: alexnet(5, input_size=99, width=0.2, init="he"), 99, ["conv2", "layer5", "fc7"]),
    "our zfnet": (lambda: zfnet(5, input_size=99, width=0.2, init="he"), 99, ["conv1", "conv3", "fc6"]),
    "alexnet": (lambda: models.alexnet(num_classes=5), 99, ["features.3"]),
    "vgg11": (lambda: models.vgg11(num_classes=5), 67, ["features.6"]),
    "squeezenet": (lambda: models.squeezenet1_0(num_classes=5), 75, ["features.7"]),
    "resnet18": (lambda: models.resnet18(num_classes=5), 67, ["layer1.1", "layer3.0"]),
    "googlenet": (lambda: models.googlenet(num_classes=5, init_weights=False), 96, ["inception3a"]),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name == "vgg11" else ()) for name in KNOWN]
)
def test_in_known_networks_at_corners_edges_and_inside(name, caplog):
    torch.manual_seed(0)
    build, side, layers = KNOWN[name]
    net, image, instead = build().eval(), torch.randn(3, side, side + 5), torch.randn(1, 3, side, side + 5)
    image, instead = (x[..., :side] for x in (image, instead)) if name.startswith("our") else (image, instead)
    boxes = boxes_in(side, image.shape[-1], [(22, 22), (7, 31)])[::2]  # in each shape corners, edges and the centre
    readings = {layer: Reading() for layer in [*layers, OUTPUT]}
    with caplog.at_level(logging.INFO), torch.no_grad():
        ours = evaluate_incremental(net, image, boxes, instead, readings)
    assert caplog.text == ""  # nothing was computed in full
    expected = literal(net, image, boxes, instead, list(readings))
    for layer in readings:
        close(ours[layer], expected[layer])


@settings(max_examples=60, deadline=None)
@given(steps, st.integers(9, 26), st.integers(9, 26), st.data())
def test_in_drawn_networks(drawn, height, width, data):
    torch.manual_seed(0)
    net, image = RandomNet(drawn).double(), torch.randn(4, height, width, dtype=torch.float64)
    try:
        with torch.no_grad():
            net(image[None])
    except RuntimeError:
        return  # the maps became smaller than a kernel
    sides = st.tuples(st.integers(1, height), st.integers(1, width))
    boxes = []
    for rows, columns in data.draw(st.lists(sides, min_size=1, max_size=5)):
        top, left = data.draw(st.integers(0, height - rows)), data.draw(st.integers(0, width - columns))
        boxes.append([top, left, top + rows, left + columns])
    some = torch.tensor(boxes)
    instead = torch.randn(len(boxes) if data.draw(st.booleans()) else 1, 4, height, width, dtype=torch.float64)
    with patch.object(box_windows, "BLOCK", data.draw(st.sampled_from([1, 2**23]))):
        ours = evaluate_incremental(net, image, some, instead, {OUTPUT: Reading()})[OUTPUT]
    torch.testing.assert_close(ours, literal(net, image, some, instead, [OUTPUT])[OUTPUT], rtol=1e-9, atol=1e-9)


# ---- how it is done ---------------------------------------------------------------------------------------------


class Work(torch.overrides.TorchFunctionMode):
    """Counts the values that convolutions give."""

    def __init__(self) -> None:
        super().__init__()
        self.values = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if getattr(func, "__name__", "") == "conv2d":
            self.values += result.numel()
        return result


def test_only_what_changed_is_computed():
    net = nn.Sequential(nn.Conv2d(3, 2, 3, padding=1), nn.ReLU(), nn.Conv2d(2, 2, 3, stride=2)).eval()
    image, boxes = torch.randn(3, 40, 40), torch.tensor([[10, 20, 14, 24], [0, 0, 4, 4], [36, 36, 40, 40]])
    with Work() as work:
        evaluate_incremental(net, image, boxes, torch.zeros(1, 3, 40, 40), {OUTPUT: Reading()})
    # By hand: of the first layer 6 x 6, 5 x 5 and 5 x 5 places; of the second, whose windows begin at every other row,
    # rows 4 to 7 and columns 9 to 12 (4 x 4), rows and columns 0 to 2 (3 x 3), and 17 to 18 (2 x 2). Beside it one
    # pass over the image itself.
    boxes_alone = 2 * (36 + 25 + 25) + 2 * (16 + 9 + 4)
    whole = 2 * 40 * 40 + 2 * 19 * 19
    assert work.values == boxes_alone + whole


def test_what_the_images_share_is_computed_once_for_all_passes():
    net = nn.Sequential(nn.Conv2d(3, 2, 3, padding=1), nn.ReLU(), nn.Conv2d(2, 2, 3, stride=2)).eval()
    image, boxes = torch.randn(3, 40, 40), torch.tensor([[10, 20, 14, 24], [0, 0, 4, 4], [36, 36, 40, 40]])
    passes: list[int] = []
    with Work() as work:
        readings = {OUTPUT: Reading(lambda maps: maps.sum((2, 3)))}
        black = torch.zeros(1, 3, 40, 40)
        evaluate_incremental(net, image, boxes, black, readings, max_elements=200, on_progress=passes.append)
    assert passes == [1, 1, 1]
    boxes_alone = 2 * (36 + 25 + 25) + 2 * (16 + 9 + 4)
    assert work.values == boxes_alone + 2 * 40 * 40 + 2 * 19 * 19


def test_memory_is_bounded_by_the_knob():
    torch.manual_seed(0)
    net = models.squeezenet1_0(num_classes=3).eval()
    image, boxes = torch.randn(3, 67, 67), boxes_in(67, 67, [(20, 20)])
    done, most = [], []
    start = IncrementalForward.start

    def counted(self, *args):
        most.append(self)
        return start(self, *args)

    with patch.object(IncrementalForward, "start", counted):
        few = evaluate_incremental(
            net,
            image,
            boxes,
            torch.zeros(1, 3, 67, 67),
            {OUTPUT: Reading()},
            max_elements=10**5,
            on_progress=done.append,
        )
    assert len(done) > 3
    assert sum(done) == len(boxes)
    assert max(made.peak_elements for made in most) <= 10**5
    many = evaluate_incremental(net, image, boxes, torch.zeros(1, 3, 67, 67), {OUTPUT: Reading()})
    torch.testing.assert_close(few, many)


def test_some_maps_reduced_are_those_of_all():
    net = zfnet(5, input_size=64, width=0.2, init="he").eval()
    image, boxes = torch.randn(3, 64, 64), boxes_in(64, 64, [(10, 10)])
    instead = torch.zeros(1, 3, 64, 64)
    some = evaluate_incremental(net, image, boxes, instead, {"conv2": Reading(lambda maps: maps.sum((2, 3)), [3, 1])})[
        "conv2"
    ]
    every = evaluate_incremental(net, image, boxes, instead, {"conv2": Reading()})["conv2"]
    torch.testing.assert_close(some, every[:, [3, 1]].sum((2, 3)))


class Odd(nn.Module):
    """Does something between two convolutions."""

    def __init__(self, between) -> None:
        super().__init__()
        self.a, self.b, self.between = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3, padding=1), between

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.between(self.a(x)))


def grown(x: Tensor) -> Tensor:
    """A sum in place whose result nobody takes, with maps that change in more places."""
    x.add_(F.max_pool2d(x, 3, 1, 1))
    return x


def written(x: Tensor) -> Tensor:
    """An assignment to a channel."""
    x = x.clone()
    x[:, 0] = x[:, 0] * 3 + 1
    return x


def blanked(x: Tensor) -> Tensor:
    """An assignment to where a mask is."""
    x[x < 0] = 0
    return x


HERE = {
    "a sum in place": grown,
    "in place operators": lambda x: x.__iadd__(F.avg_pool2d(x, 3, 1, 1)),
    "channels of their own": lambda x: torch.cat([x[:, 2:], *x[:, :2].chunk(2, 1)], 1),
    "a split": lambda x: torch.cat(x.split(1, dim=1)[::-1], 1),
    "constants": lambda x: x * torch.arange(1.0, 5.0).view(1, 4, 1, 1) + 2.0,
    "its shape": lambda x: F.relu(x) * x.shape[1] + x.size(2) * x.size()[3],
    "a mask": lambda x: torch.where(x > 0, x, x * 0.1),
    "overlapping windows of the mean": lambda x: F.avg_pool2d(x, 3, 2, 1),
    "a border": lambda x: F.pad(x, (1, 2, 3, 0), value=0.5),
    "an adaptive mean": lambda x: F.adaptive_avg_pool2d(x, (9, 9)),
}
IN_FULL = {
    "maps that differ from place to place": (lambda x: x * torch.linspace(0, 1, 18), "mul"),
    "a transposition": (lambda x: x.transpose(2, 3), "transpose"),
    "a mean without the border": (lambda x: F.avg_pool2d(x, 3, 1, 1, count_include_pad=False), "avg_pool2d"),
    "a reflected border": (lambda x: F.pad(x, (1, 1, 1, 1), mode="reflect"), "pad"),
    "some places": (lambda x: x[:, :, 2:], "__getitem__"),
    "attention to channels": (lambda x: x * x.mean((2, 3), keepdim=True), "mul"),
    "joined along the rows": (lambda x: torch.cat([x, x], 2), "cat"),
    "interpolation": (lambda x: F.interpolate(x, scale_factor=2), "interpolate"),
    "an unknown change in place": (lambda x: x.cumsum_(3), "cumsum_"),
    "a channel that is written to": (written, "__setitem__"),
    "places that are written to": (blanked, "__setitem__"),
    "what is behind the tensor": (lambda x: x.data.clamp_(min=0), ".data"),
    "coordinates beside it": (lambda x: torch.cat([x, torch.ones(len(x), 1, 18, 18).double()], 1)[:, 1:], "cat"),
}


def both(between) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    net, image, instead = Odd(between).eval().double(), torch.randn(3, 20, 20).double(), torch.randn(1, 3, 20, 20)
    boxes = boxes_in(20, 20, [(5, 5), (2, 9)])
    ours = evaluate_incremental(net, image, boxes, instead.double(), {OUTPUT: Reading()})[OUTPUT]
    return ours, literal(net, image, boxes, instead, [OUTPUT])[OUTPUT]


@pytest.mark.parametrize("name", HERE)
def test_operations_that_keep_places_apart(name, caplog):
    with caplog.at_level(logging.INFO):
        ours, expected = both(HERE[name])
    close(ours, expected, 1e-10)
    assert caplog.text == ""


@pytest.mark.parametrize("name", IN_FULL)
def test_operations_that_mix_places_are_computed_in_full_which_is_said_once(name, caplog):
    between, operation = IN_FULL[name]
    with caplog.at_level(logging.INFO):
        ours, expected = both(between)
    close(ours, expected, 1e-10)
    assert len(caplog.records) == 1
    assert operation in caplog.text


def test_the_network_is_left_as_it_was():
    net = models.resnet18(num_classes=3).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    image = torch.randn(3, 40, 40)
    evaluate_incremental(
        net, image, boxes_in(40, 40, [(9, 9)]), image[None] * 0, {"layer1": Reading(), OUTPUT: Reading()}
    )
    assert all(module.training for module in net.modules())
    assert not any(m._forward_hooks for m in net.modules())
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_what_is_said_is_said_once_for_each_network(caplog):
    net = Odd(lambda x: x.transpose(2, 3)).eval()
    image = torch.randn(3, 12, 12)
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            evaluate_incremental(net, image, boxes_in(12, 12, [(3, 3)]), image[None] * 0, {OUTPUT: Reading()})
    assert [record.message for record in caplog.records] == [
        "Odd: transpose mixes positions, so from there on whole images are computed"
    ]


# ---- boxes ------------------------------------------------------------------------------------------------------


@given(
    st.integers(3, 14), st.integers(1, 5), st.integers(1, 3), st.integers(0, 2), st.integers(0, 13), st.integers(0, 14)
)
def test_boxes_above_hold_the_outputs_that_see_a_changed_place(side, extent, stride, before, begin, length):
    begin = min(begin, side)
    end = min(begin + length, side)
    outputs = max((side + 2 * before - extent) // stride + 1, 0)
    seen = [o for o in range(outputs) if any(begin <= o * stride - before + k < end for k in range(extent))]
    window = Window((extent, 1), (stride, 1), (before, 0), (before, 0))
    changed = ChangedRegion.from_bounds((side, 1), torch.tensor([[begin, 0, end, 1]]))
    top, left, bottom, right = changed.output_bounds(window, (outputs, 1))[0].tolist()
    if not seen:
        assert (top, left, bottom, right) == (0, 0, 0, 0)
    else:
        assert (top, bottom) == (seen[0], seen[-1] + 1)


def test_an_empty_box_counts_for_nothing():
    nothing, one, other = torch.tensor([[0, 0, 0, 0]]), torch.tensor([[4, 5, 6, 7]]), torch.tensor([[1, 6, 5, 9]])
    assert union([nothing, one]).tolist() == union([one, nothing]).tolist() == one.tolist()
    assert union([one, other]).tolist() == [[1, 5, 6, 9]]
