"""Cases in which known libraries give wrong projections, with the numbers worked out by hand for each.

The nets read their numbers as an image of one row; the projection starts from their single output, at one.
"""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convlens.deconv import project


class Net(nn.Module):
    """A function of a row of numbers, as a network with one output."""

    def __init__(self, function: Callable[[Tensor], Tensor], **modules: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, images: Tensor) -> Tensor:
        return self.function(images)


def row(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).view(1, 1, 1, -1)


def head(*weights: float) -> Callable[[Tensor], Tensor]:
    return lambda x: x.flatten(1) @ torch.tensor(weights).view(-1, 1)


def down(net: nn.Module, image: Tensor, **options) -> list[float]:
    return project(net, image, None, [(0, 0)], signal="one", **options).flatten().tolist()


def test_a_skip_around_a_relu_keeps_its_own_signal():
    net = Net(lambda x: head(1.0, -1.0, 1.0)(F.relu(2 * x) + 2 * x))
    assert down(net, row(1, -2, 3)) == [4, -2, 4]


def test_a_skip_around_a_relu_in_place_after_a_copy_keeps_its_own_signal():
    def function(x):
        h = 2 * x
        return head(1.0, -1.0, 1.0)(F.relu_(h.clone()) + h)

    assert down(Net(function), row(1, -2, 3)) == [4, -2, 4]


def test_one_relu_module_on_two_interleaved_branches_rectifies_each_by_itself():
    relu = nn.ReLU()

    def function(x):
        first, second = x * 1, x * 1
        return head(1.0, 2.0)(relu(first)) + head(10.0, -20.0)(relu(second))

    assert down(Net(function, relu=relu), row(1, 1)) == [11, 2]


def test_one_relu_module_on_branches_of_different_width_rectifies_each_by_itself():
    relu = nn.ReLU()
    widen = torch.tensor([[1.0, 0.0, 3.0], [0.0, 1.0, 5.0]])

    def function(x):
        first, second = x.flatten(1) * 1, x.flatten(1) @ widen
        # The third unit's signal, -7, is rectified away.
        return head(1.0, 2.0)(relu(first)) + head(10.0, -20.0, -7.0)(relu(second))

    assert down(Net(function, relu=relu), row(1, 1)) == [11, 2]


SPELLINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "nn.ReLU": nn.ReLU(),
    "nn.ReLU in place": nn.ReLU(inplace=True),
    "F.relu": F.relu,
    "F.relu by name": lambda x: F.relu(input=x),
    "F.relu in place": lambda x: F.relu(x, inplace=True),
    "F.relu in place, by place": lambda x: F.relu(x, True),
    "F.relu in place, result unused": lambda x: (F.relu(x, inplace=True), x)[1],
    "F.relu_": F.relu_,
    "torch.relu": torch.relu,
    "torch.relu_": torch.relu_,
    "x.relu()": lambda x: x.relu(),
    "x.relu_()": lambda x: x.relu_(),
    "x.clamp(min=0)": lambda x: x.clamp(min=0),
    "x.clamp(0)": lambda x: x.clamp(0),
    "x.clamp(0, None)": lambda x: x.clamp(0, None),
    "x.clamp_(min=0.0)": lambda x: x.clamp_(min=0.0),
    "x.clamp(min=zero tensor)": lambda x: x.clamp(min=torch.tensor(0.0)),
    "torch.clamp": lambda x: torch.clamp(x, min=0),
    "torch.clamp_, result unused": lambda x: (torch.clamp_(x, min=0), x)[1],
    "torch.clamp_min": lambda x: torch.clamp_min(x, 0),
    "torch.clamp_min_": lambda x: torch.clamp_min_(x, 0),
    "x.clamp_min(0)": lambda x: x.clamp_min(0),
    "x.clamp_min_(0)": lambda x: x.clamp_min_(0),
    "torch.clip": lambda x: torch.clip(x, 0),
    "torch.clip_": lambda x: torch.clip_(x, 0),
    "x.clip(min=0)": lambda x: x.clip(min=0),
    "x.clip_(0)": lambda x: x.clip_(0),
    "nn.Threshold": nn.Threshold(0.0, 0.0),
    "nn.Threshold in place": nn.Threshold(0.0, 0.0, inplace=True),
    "F.threshold": lambda x: F.threshold(x, 0, 0),
    "F.threshold_": lambda x: F.threshold_(x, 0, 0),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_of_the_relu_is_rectified_in_the_backward_pass(spelling):
    net = Net(lambda x: head(1.0, -1.0, 1.0, -1.0)(SPELLINGS[spelling](x * 1)))
    image = row(1, 1, -1, -1)
    assert down(net, image) == [1, 0, 1, 0]
    assert down(net, image, rule="gradient") == [1, -1, 0, 0]
    assert down(net, image, rule="guided") == [1, 0, 0, 0]
    assert net(image).item() == 0  # 1 - 1: and the net outside of a projection is as before


@pytest.mark.parametrize(
    "function",
    [lambda x: x.clamp(min=0.5), lambda x: x.clamp(0, 6), lambda x: F.threshold(x, 0, -1.0), lambda x: x.clamp(max=0)],
    ids=["floor of a half", "bounded above", "another value below", "negative part"],
)
def test_another_function_that_resembles_a_relu_has_its_plain_gradient(function):
    image = torch.tensor([[1.0, 1.0, -1.0, -1.0]]).view(1, 1, 1, 4)
    # A ReLU above makes the net one that has a rule.
    net = Net(lambda x: F.relu(head(1.0, -1.0, 2.0, -1.0)(function(x * 1)) + 100))
    x = image.clone().requires_grad_()
    expected = torch.autograd.grad(net(x).sum(), x)[0].flatten().tolist()
    assert down(net, image) == expected


class OneConv(nn.Module):
    """The peers' test net: 4x4 image, two 3x3 filters of ones, four units that read the eight values."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.conv1, self.relu1 = nn.Conv2d(1, 2, 3), nn.ReLU(inplace)
        self.fc1, self.relu2 = nn.Linear(8, 4), nn.ReLU(inplace)
        with torch.no_grad():
            self.conv1.weight.fill_(1.0)
            self.conv1.bias.copy_(torch.tensor([-50.0, -75.0]))
            self.fc1.weight.copy_(torch.tensor([1.0, 1, 1, 1, 1, -1, -1, -1]).repeat(4, 1))
            self.fc1.bias.zero_()

    def forward(self, images: Tensor) -> Tensor:
        return self.relu2(self.fc1(self.relu1(self.conv1(images)).view(-1, 8)))


IMAGE = torch.arange(16.0).view(1, 1, 4, 4)
DECONV = [[2, 3, 3, 1], [3, 5, 5, 2], [3, 5, 5, 2], [1, 2, 2, 1]]
GRADIENT = [[0, 1, 1, 1], [0, 1, 1, 1], [0, 1, 1, 1], [0, 0, 0, 0]]
GUIDED = [[0, 1, 1, 1], [1, 3, 3, 2], [1, 3, 3, 2], [1, 2, 2, 1]]


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("layer", [None, "relu2", "fc1"])
@pytest.mark.parametrize("unit", [0, 1, 3])
def test_the_one_conv_net_projects_as_published(inplace, layer, unit):
    net = OneConv(inplace)
    for rule, expected in (("deconvnet", DECONV), ("gradient", GRADIENT), ("guided", GUIDED)):
        assert project(net, IMAGE, layer, [(0, unit)], signal="one", rule=rule)[0, 0].tolist() == expected, rule
        # The paper's seed is the unit's own activation, here 54.
        scaled = [[54 * value for value in line] for line in expected]
        assert project(net, IMAGE, layer, [(0, unit)], rule=rule)[0, 0].tolist() == scaled, rule


def test_guided_projections_depend_on_the_image():
    # For an image whose windows are all above the threshold nothing is masked: 4, 6, 6, 4 of the peers' second input.
    both = IMAGE + torch.ones_like(IMAGE)
    expected = [[1, 2, 2, 1], [2, 4, 4, 2], [2, 4, 4, 2], [1, 2, 2, 1]]
    net = OneConv()
    with torch.no_grad():
        net.conv1.bias.copy_(torch.tensor([1.0, -1000.0]))
    assert project(net, both, None, [(0, 0)], signal="one", rule="guided")[0, 0].tolist() == expected


def test_an_inactive_unit_projects_to_zero_from_its_activation_and_to_the_filters_from_one():
    net, blank = OneConv(), torch.zeros(1, 1, 4, 4)
    assert project(net, blank, None, [(0, 0)]).abs().sum() == 0
    assert project(net, blank, None, [(0, 0)], signal="one").sum() == 45


PEAK = torch.zeros(1, 1, 5, 5)
PEAK[0, 0, 2, 2] = 1.0


@pytest.mark.parametrize(("weights", "total", "last"), [((1.0, 1.0, 1.0, 1.0), 4, 1), ((1.0, 2.0, 3.0, 4.0), 10, 4)])
@pytest.mark.parametrize(
    "pool",
    [
        nn.MaxPool2d(3, 2),
        lambda x: F.max_pool2d(x, 3, stride=2),
        lambda x: torch.max_pool2d(x, 3, 2),
        lambda x: F.max_pool2d(x, 3, 2, return_indices=True)[0],
        lambda x: F.max_pool2d_with_indices(x, [3, 3], [2, 2])[0],
    ],
    ids=["module", "F.max_pool2d", "torch.max_pool2d", "with indices asked for", "with_indices"],
)
def test_a_peak_shared_by_four_windows_gets_their_sum_or_the_last_ones_value(weights, total, last, pool):
    net = Net(lambda x: head(*weights)(F.relu(pool(x))))
    for unpool, value in (("sum", total), ("overwrite", last)):
        expected = torch.zeros(5, 5)
        expected[2, 2] = value
        assert down(net, PEAK, unpool=unpool) == expected.flatten().tolist(), unpool
    assert net(PEAK).item() == total  # the way up is the same


@pytest.mark.parametrize("unpool", ["sum", "overwrite"])
def test_a_pool_that_rounds_up_is_unpooled_at_its_switches_in_a_map_of_the_right_size(unpool):
    image = torch.arange(16.0).view(1, 1, 4, 4)
    net = Net(lambda x: head(1.0, 2.0, 3.0, 4.0)(F.relu(F.max_pool2d(x, 3, 2, ceil_mode=True))))
    expected = [0.0] * 16
    expected[10], expected[11], expected[14], expected[15] = 1, 2, 3, 4
    assert down(net, image, unpool=unpool) == expected


@pytest.mark.parametrize("unpool", ["sum", "overwrite"])
def test_windows_of_zeros_are_unpooled_at_their_first_position(unpool):
    net = Net(lambda x: head(1.0, 2.0, 3.0, 4.0)(F.max_pool2d(F.relu(x), 2)))
    expected = [0.0] * 16
    expected[0], expected[2], expected[8], expected[10] = 1, 2, 3, 4
    assert down(net, torch.zeros(1, 1, 4, 4), unpool=unpool) == expected


@pytest.mark.parametrize("unpool", ["sum", "overwrite"])
def test_adaptive_pools_are_unpooled_at_their_switches(unpool):
    image = torch.arange(16.0).view(1, 1, 4, 4)
    for pool in (nn.AdaptiveMaxPool2d(2), lambda x: F.adaptive_max_pool2d(x, 2, return_indices=True)[0]):
        net = Net(lambda x, pool=pool: head(1.0, 2.0, 3.0, 4.0)(F.relu(pool(x))))
        expected = [0.0] * 16
        expected[5], expected[7], expected[13], expected[15] = 1, 2, 3, 4
        assert down(net, image, unpool=unpool) == expected


def test_overlapping_adaptive_windows_follow_the_unpooling_too():
    # Three windows of three on five columns: 0-1, 1-3, 3-4; the peak in column 1 is in the first two.
    net = Net(lambda x: head(1.0, 2.0, 3.0)(F.relu(F.adaptive_max_pool2d(x, (1, 3)))))
    assert down(net, row(0, 9, 0, 0, 5)) == [0, 3, 0, 0, 3]
    assert down(net, row(0, 9, 0, 0, 5), unpool="overwrite") == [0, 2, 0, 0, 3]


def test_rules_of_the_peers_own_tests():
    image = row(5, 0, -5, 10)
    ten = Net(lambda x: (10 * F.relu(x)).flatten(1).sum(1, keepdim=True))
    assert down(ten, image, rule="gradient") == [10, 0, 0, 10]
    assert down(ten, image) == [10, 10, 10, 10]
    square = Net(lambda x: (F.relu(x) ** 2).flatten(1).sum(1, keepdim=True))
    assert down(square, image) == [10, 0, 0, 20]
    assert down(Net(lambda x: -square(x)), image, rule="guided") == [0, 0, 0, 0]


def test_a_network_is_not_changed_by_being_projected():
    net = OneConv(inplace=True)
    before = copy.deepcopy(net.state_dict())
    expected = net(IMAGE)
    project(net, IMAGE, None, [(0, 0)])
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert torch.equal(net(IMAGE), expected)
    assert torch.equal(IMAGE, torch.arange(16.0).view(1, 1, 4, 4))
