"""Arguments and errors of `project`, and the state of the network after it."""

import copy
import inspect

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convlens.deconv import BackwardRules, project
from convlens.errors import InputError
from convlens.nets import zfnet
from convlens.ops.receptive_field import receptive_field

# The checked signature would refuse unknown options before the function sees them.
unchecked_project = inspect.unwrap(project)


class Small(nn.Module):
    """Two layers with every kind of in-place operation, BatchNorm and dropout; can be told to fail."""

    def __init__(self) -> None:
        super().__init__()
        self.start = nn.ReLU(inplace=True)
        self.conv1, self.bn = nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.conv2, self.drop = nn.Conv2d(4, 4, 3, padding=1), nn.Dropout(0.5)
        self.unused, self.head = nn.Linear(3, 3), nn.Linear(4, 3)
        self.passes_left = 1_000

    def forward(self, images: Tensor) -> Tensor:
        self.passes_left -= 1
        if not self.passes_left:
            raise RuntimeError("broken")
        x = self.relu(self.bn(self.conv1(self.start(images))))
        x = self.relu(self.drop(self.conv2(x)))
        return self.head(x.mean((2, 3)))


@pytest.fixture
def net() -> Small:
    torch.manual_seed(0)
    return Small()


@pytest.fixture
def images() -> Tensor:
    return torch.randn(5, 2, 8, 9, generator=torch.Generator().manual_seed(0))


UNITS = [(0, 1, 2, 3), (4, 0, 0, 0), (2, 3, 5, 6), (0, 2, 1, 1)]


def state(net: nn.Module) -> dict:
    return {
        "training": [module.training for module in net.modules()],
        "needs": [(name, p.requires_grad, p.grad) for name, p in net.named_parameters()],
        "hooks": [
            (len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks), len(m._backward_pre_hooks))
            for m in net.modules()
        ],
        "modules": [(name, type(module), getattr(module, "inplace", None)) for name, module in net.named_modules()],
    }


def mixed(net: nn.Module) -> None:
    """A state that no blanket `train()` or `requires_grad_()` would bring back."""
    net.train()
    net.get_submodule("bn").eval()
    net.get_submodule("conv2").weight.requires_grad_(False)
    net.get_submodule("conv1").register_forward_hook(lambda *_: None)


def test_the_network_and_the_images_are_left_as_they_were(net, images):
    mixed(net)
    before, weights, pixels = state(net), copy.deepcopy(net.state_dict()), images.clone()
    numbers = torch.random.get_rng_state()
    project(net, images, "conv2", UNITS)
    assert state(net) == before
    assert all(torch.equal(value, weights[name]) for name, value in net.state_dict().items())
    assert torch.equal(images, pixels)
    assert torch.equal(torch.random.get_rng_state(), numbers)
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("passes", [1, 2], ids=["at first", "on the way"])
def test_a_network_that_fails_is_left_as_it_was(net, images, passes):
    mixed(net)
    before, net.passes_left = state(net), passes
    with pytest.raises(InputError, match="broken"):
        project(net, images, "conv2", UNITS)
    assert state(net) == before
    x = torch.ones(1, requires_grad=True)
    assert torch.autograd.grad(-F.relu(x), x)[0] == -1  # no rule is active any more


def test_projections_are_the_same_in_training_mode_and_without_gradients(net, images):
    expected = project(net.eval(), images, "conv2", UNITS)
    assert torch.equal(project(net.train(), images, "conv2", UNITS), expected)
    net.requires_grad_(False)
    assert torch.equal(project(net, images, "conv2", UNITS), expected)
    with torch.no_grad():
        assert torch.equal(project(net, images, "conv2", UNITS), expected)
    with torch.inference_mode():
        assert torch.equal(project(net, images.clone(), "conv2", UNITS), expected)


def test_a_projection_carries_no_graph(net, images):
    assert not project(net, images, "conv2", UNITS).requires_grad
    assert not project(net, images.requires_grad_(), "conv2", UNITS).requires_grad


def test_each_row_is_its_units_alone_for_every_batch_size(net, images):
    together = project(net, images, "conv2", UNITS)
    assert together.shape == (4, 2, 8, 9)
    for size in (1, 3):
        torch.testing.assert_close(project(net, images, "conv2", UNITS, batch_size=size), together)
    for unit, row in zip(UNITS, together, strict=True):
        alone = project(net, images[unit[0] : unit[0] + 1], "conv2", [(0, *unit[1:])])
        torch.testing.assert_close(alone[0], row)


def test_no_units_give_no_projections(net, images):
    assert project(net, images, "conv2", []).shape == (0, 2, 8, 9)


def test_a_layer_before_an_in_place_relu_gives_its_own_activation(net, images):
    net.eval()
    before = net.bn(net.conv1(F.relu(images)))
    place = tuple(int(i) for i in (before == before.min()).nonzero()[0])
    assert before[place] < 0
    one = project(net, images, "bn", [place], signal="one", rule="gradient")
    ours = project(net, images, "bn", [place], rule="gradient")
    torch.testing.assert_close(ours, before[place].item() * one)


def test_projections_are_computed_in_the_networks_precision(net, images):
    expected = project(copy.deepcopy(net).double(), images.double(), "conv2", UNITS)
    ours = project(net.double(), images, "conv2", UNITS)
    assert ours.dtype == torch.float64
    torch.testing.assert_close(ours, expected)


def test_a_projection_is_zero_outside_the_receptive_field():
    torch.manual_seed(0)
    net = zfnet(5, input_size=99, width=0.1, init="he").eval()
    images = torch.randn(1, 3, 99, 99) * 60
    unit = (0, 3, 4, 6)
    projection = project(net, images, "conv2", [unit], signal="one")[0].abs().sum(0)
    top, left, bottom, right = receptive_field(net, "conv2", (99, 99)).box(4, 6)
    assert (top, left, bottom, right) == (31, 47, 58, 74)
    assert projection.sum() > 0
    projection[top:bottom, left:right] = 0
    assert projection.sum() == 0


# Arguments, options, and the error message.
MISTAKES = [
    (("conv3", [(0, 0, 0, 0)]), {}, r"unknown layer 'conv3' in Small: did you mean conv2 or conv1"),
    (("", [(0, 0, 0, 0)]), {}, r"unknown layer '' in Small: its layers are start, conv1, bn"),
    (("unused", [(0, 0)]), {}, r"layer 'unused' is never reached"),
    (("relu", [(0, 0, 0, 0)]), {}, r"layer 'relu' is called 2 times in one forward pass"),
    (("conv2", [(0, 0)]), {}, r"unit \(0, 0\) of layer 'conv2': give \(image, map, y, x\)"),
    (("head", [(0, 0, 0, 0)]), {}, r"unit \(0, 0, 0, 0\) of layer 'head': give \(image, unit\)"),
    (("conv2", [(0, 4, 0, 0)]), {}, r"unit \(0, 4, 0, 0\) of layer 'conv2': map 4 is outside 0\.\.3"),
    (("conv2", [(5, 0, 0, 0)]), {}, r"image 5 is outside 0\.\.4"),
    (("conv2", [(0, 0, 6, 0)]), {}, r"y 6 is outside 0\.\.5"),
    (("conv2", [(0, 0, 0, -1)]), {}, r"x -1 is outside 0\.\.6"),
    ((None, [(0, 3)]), {}, r"unit \(0, 3\) of the network's output: unit 3 is outside 0\.\.2"),
    (("conv2", UNITS), {"signal": "two"}, r"signal='two' is unknown: choose activation, one"),
]


@pytest.mark.parametrize(("arguments", "options", "message"), MISTAKES, ids=[m[2][:40] for m in MISTAKES])
def test_a_mistake_is_answered_in_one_line(net, images, arguments, options, message):
    with pytest.raises(InputError, match=message) as error:
        unchecked_project(net, images, *arguments, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rule": "deconv"}, "rule='deconv' is unknown: choose deconvnet, gradient, guided"),
        ({"unpool": "mean"}, "unpool='mean' is unknown: choose sum, overwrite, centre"),
        ({"lrn": "none"}, "lrn='none' is unknown: choose identity, adjoint"),
    ],
)
def test_unknown_rules_are_answered_with_the_known_ones(options, message):
    with pytest.raises(InputError, match=message):
        inspect.unwrap(BackwardRules.__init__)(BackwardRules.__new__(BackwardRules), **options)


def test_all_layers_of_a_large_network_are_counted_rather_than_listed():
    net = nn.Sequential(*(nn.ReLU() for _ in range(60)))
    with pytest.raises(InputError, match=r"did you mean 6.*, 39, \.\.\. \(60 in all\)"):
        project(net, torch.zeros(1, 1, 1, 1), "66", [(0, 0, 0, 0)])


class Odd(nn.Module):
    """Layers whose output is not one tensor of maps."""

    def __init__(self) -> None:
        super().__init__()
        self.pool, self.flat = nn.MaxPool2d(2, return_indices=True), nn.Flatten(2)

    def forward(self, images: Tensor) -> Tensor:
        return self.flat(F.relu(self.pool(images)[0]))


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("pool", "layer 'pool' gives no tensor"),
        ("flat", "layer 'flat' gives a tensor of 3 dimensions"),
        (None, "the network's output gives a tensor of 3 dimensions"),
    ],
)
def test_layers_without_maps_or_vectors_are_refused(layer, message):
    with pytest.raises(InputError, match=message):
        project(Odd(), torch.zeros(1, 1, 4, 4), layer, [(0, 0, 0)])


def test_a_network_without_relu_is_refused_unless_the_plain_gradient_is_asked_for():
    linear, smooth = (
        nn.Sequential(nn.Flatten(), nn.Linear(4, 2)),
        nn.Sequential(nn.Flatten(), nn.Linear(4, 2), nn.GELU()),
    )
    image = torch.ones(1, 1, 2, 2)
    for rule in ("deconvnet", "guided"):
        with pytest.raises(InputError, match=f"Sequential has no ReLU below the unit: the {rule} rule needs one"):
            project(linear, image, None, [(0, 1)], rule=rule)
        with pytest.raises(InputError, match="it uses gelu, for which no such rule is defined"):
            project(smooth, image, None, [(0, 1)], rule=rule)
    gradient = project(linear, image, None, [(0, 1)], rule="gradient", signal="one")
    assert torch.equal(gradient.flatten(), linear[1].weight[1])


def test_another_nonlinearity_below_the_unit_is_refused_though_a_relu_follows():
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.SiLU(), nn.Conv2d(2, 2, 1), nn.ReLU())
    with pytest.raises(InputError, match="no ReLU below the unit; it uses silu"):
        project(net, torch.ones(1, 1, 2, 2), "2", [(0, 0, 0, 0)])


def test_rules_by_hand_leave_the_forward_pass_unchanged():
    net = zfnet(5, input_size=64, width=0.1, init="he").eval()
    x = torch.randn(2, 3, 64, 64) * 60
    expected = net(x)
    for rule in ("deconvnet", "gradient", "guided"):
        for unpool in ("sum", "overwrite", "centre"):
            with BackwardRules(rule, unpool) as rules:
                assert torch.equal(net(x), expected)
            assert rules.rectified == 7
