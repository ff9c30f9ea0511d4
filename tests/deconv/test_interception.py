"""Every ReLU of well-known networks is intercepted, in every spelling, and changes the projection."""

from contextlib import contextmanager

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from convlens.deconv import BackwardRules, project
from convlens.errors import InputError

# ReLU calls in a forward pass, counted by hand or by peers; GoogLeNet and Inception have no nn.ReLU at all.
RELUS = {
    "alexnet": 7,
    "vgg16": 15,
    "resnet18": 17,
    "resnet50": 49,
    "squeezenet1_1": 26,
    "densenet121": 121,
    "googlenet": 57,
    "inception_v3": 94,
    "shufflenet_v2_x1_0": 37,
    "mnasnet1_0": 35,
    "regnet_y_400mf": 65,
}
WITHOUT = {"mobilenet_v2": "relu6", "efficientnet_b0": "silu", "convnext_tiny": "gelu", "transformer": "gelu"}


def build(name: str, device: str = "cpu") -> nn.Module:
    if name == "transformer":
        return torchvision.models.VisionTransformer(32, 16, num_layers=1, num_heads=1, hidden_dim=4, mlp_dim=4)
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    # RegNet computes its widths with tensors, which have no values on the meta device.
    with torch.device("cpu" if name.startswith("regnet") else device):
        return torchvision.models.get_model(name, weights=None, **options).eval().to(device)


@pytest.mark.parametrize("name", RELUS)
def test_every_relu_call_of_a_network_is_intercepted(name):
    net = build(name, "meta")
    with BackwardRules() as rules:
        net(torch.zeros(1, 3, 224, 224, device="meta"))
    assert rules.rectified == RELUS[name]


@pytest.mark.parametrize("name", WITHOUT)
def test_a_network_without_relu_is_refused_with_what_it_has_instead(name):
    net = build(name)
    with pytest.raises(InputError, match=rf"no ReLU.*{WITHOUT[name]}.*rule='gradient' works") as error:
        project(net, torch.zeros(1, 3, 32, 32), None, [(0, 0)])
    assert "\n" not in str(error.value)


@contextmanager
def every_functional_relu_replaced():
    """Another way to the same rule: torch's own function is exchanged, as TorchRay does."""

    class Deconvolve(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return torch.where(x > 0, x, torch.zeros_like(x))

        @staticmethod
        def backward(ctx, signal):
            return torch.where(signal > 0, signal, torch.zeros_like(signal))

    original = F.relu
    F.relu = lambda x, inplace=False: Deconvolve.apply(x)
    try:
        yield
    finally:
        F.relu = original


def cosine(a: Tensor, b: Tensor) -> float:
    return float(F.cosine_similarity(a.flatten(), b.flatten(), dim=0))


@pytest.mark.parametrize(
    ("name", "size", "layer"),
    [
        ("googlenet", 32, "inception4a"),
        ("densenet121", 32, "features.denseblock3"),
        ("resnet18", 32, "layer3.1"),
        ("inception_v3", 75, "Mixed_6b"),
    ],
)
def test_projections_are_those_of_replaced_relus_and_not_the_gradient(name, size, layer):
    torch.manual_seed(0)
    net = build(name).double()
    image = torch.randn(1, 3, size, size, dtype=torch.float64)
    unit = (0, 1, 0, 0)
    projection = project(net, image, layer, [unit], signal="one")
    gradient = project(net, image, layer, [unit], signal="one", rule="gradient")

    x, kept = image.clone().requires_grad_(), []
    handle = net.get_submodule(layer).register_forward_hook(lambda module, args, output: kept.append(output))
    with every_functional_relu_replaced():
        net(x)
    net(plain := image.clone().requires_grad_())
    handle.remove()
    for ours, output, pixels in ((projection, kept[0], x), (gradient, kept[1], plain)):
        expected = torch.autograd.grad(output[unit], pixels)[0]
        torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-15 * expected.abs().max().item())
    assert projection.abs().max() > 0
    assert abs(cosine(projection, gradient)) < 0.9


def test_a_network_with_both_kinds_below_the_unit_counts_both():
    with BackwardRules() as rules:
        F.relu(F.relu6(torch.ones(1)).sigmoid())
    assert rules.rectified == 1
    assert dict(rules.others) == {"relu6": 1, "sigmoid": 1}
