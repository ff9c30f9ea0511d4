"""Projections against a literal implementation of the paper's procedure, layer by layer (section 2.1)."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchvision.models import resnet18

from convlens.deconv import project
from convlens.deconv.rules import BackwardRules
from convlens.nets import ContrastNorm, alexnet, zfnet

RULES = ("deconvnet", "gradient", "guided")
# Strong enough to matter, so that leaving it out and following it differ.
NORM = {"size": 3, "alpha": 2.0, "beta": 0.75, "k": 1.0}


def small_net() -> nn.Sequential:
    """Two layers in the manner of ZFNet, with overlapping pools that round up, and a fully connected one."""
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True), ContrastNorm(**NORM),
        nn.Conv2d(4, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Flatten(), nn.Linear(3 * 2 * 1, 5), nn.ReLU(),
    ).double().eval()  # fmt: skip


@dataclass
class Literal:
    """The forward pass, recorded, and the projection, in loops over values."""

    net: nn.Sequential
    rule: str
    unpool: str
    lrn: str
    record: list[Any] = field(default_factory=list)

    def up(self, x: np.ndarray, steps: int) -> np.ndarray:
        for module in list(self.net)[:steps]:
            if isinstance(module, nn.Conv2d):
                self.record.append(x.shape)
                x = self.filter_up(module, x)
            elif isinstance(module, nn.ReLU):
                self.record.append(x > 0)
                x = np.where(x > 0, x, 0.0)
            elif isinstance(module, nn.MaxPool2d):
                shape = x.shape
                x, switches = self.pool(x, module.ceil_mode)
                self.record.append((shape, switches))
            elif isinstance(module, ContrastNorm):
                self.record.append(x)
                x = np.stack([x[i] / self.scale(x, i) ** NORM["beta"] for i in range(len(x))])
            elif isinstance(module, nn.Flatten):
                self.record.append(x.shape)
                x = x.ravel()
            else:
                self.record.append(None)
                x = module.weight.detach().numpy() @ x + module.bias.detach().numpy()
        return x

    def down(self, signal: np.ndarray) -> np.ndarray:
        for module, kept in zip(reversed(list(self.net)[: len(self.record)]), reversed(self.record), strict=True):
            if isinstance(module, nn.Conv2d):
                signal = self.filter_down(module, signal, kept)
            elif isinstance(module, nn.ReLU):
                if self.rule in ("deconvnet", "guided"):
                    signal = np.where(signal > 0, signal, 0.0)
                if self.rule in ("gradient", "guided"):
                    signal = np.where(kept, signal, 0.0)
            elif isinstance(module, nn.MaxPool2d):
                signal = self.unpool_at(signal, *kept)
            elif isinstance(module, ContrastNorm):
                signal = self.norm_down(signal, kept) if self.lrn == "adjoint" else signal
            elif isinstance(module, nn.Flatten):
                signal = signal.reshape(kept)
            else:
                signal = module.weight.detach().numpy().T @ signal
        return signal

    @staticmethod
    def places(conv: nn.Conv2d, shape: tuple[int, ...]):
        """Every pair of an output place and the input place below one filter weight."""
        (stride, _), (padding, _), (kernel, _) = conv.stride, conv.padding, conv.kernel_size
        for y in range((shape[1] + 2 * padding - kernel) // stride + 1):
            for x in range((shape[2] + 2 * padding - kernel) // stride + 1):
                for i in range(kernel):
                    for j in range(kernel):
                        v, u = y * stride + i - padding, x * stride + j - padding
                        if 0 <= v < shape[1] and 0 <= u < shape[2]:
                            yield y, x, i, j, v, u

    def filter_up(self, conv: nn.Conv2d, x: np.ndarray) -> np.ndarray:
        weight, bias = conv.weight.detach().numpy(), conv.bias.detach().numpy()
        places = list(self.places(conv, x.shape))
        result = np.zeros((len(weight), 1 + max(p[0] for p in places), 1 + max(p[1] for p in places)))
        result += bias[:, None, None]
        for y, x_, i, j, v, u in places:
            result[:, y, x_] += weight[:, :, i, j] @ x[:, v, u]
        return result

    def filter_down(self, conv: nn.Conv2d, signal: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """The same filters transposed: what a place gave, it gets back by the same weight."""
        result = np.zeros(shape)
        for y, x, i, j, v, u in self.places(conv, shape):
            result[:, v, u] += conv.weight.detach().numpy()[:, :, i, j].T @ signal[:, y, x]
        return result

    @staticmethod
    def pool(x: np.ndarray, ceil: bool) -> tuple[np.ndarray, dict[tuple[int, int, int], tuple[int, int]]]:
        rounding = np.ceil if ceil else np.floor
        height, width = (int(rounding((side - 3) / 2)) + 1 for side in x.shape[1:])
        result, switches = np.zeros((len(x), height, width)), {}
        for c, i, j in np.ndindex(result.shape):
            best = None
            for v in range(2 * i, min(2 * i + 3, x.shape[1])):
                for u in range(2 * j, min(2 * j + 3, x.shape[2])):
                    if best is None or x[c, v, u] > x[c, best[0], best[1]]:
                        best = v, u
            assert best is not None
            switches[c, i, j] = best
            result[c, i, j] = x[c, best[0], best[1]]
        return result, switches

    def unpool_at(self, signal: np.ndarray, shape: tuple[int, ...], switches: dict) -> np.ndarray:
        result = np.zeros(shape)
        for (c, i, j), (v, u) in switches.items():
            if self.unpool == "centre":
                v, u = 2 * i + 1, 2 * j + 1  # of a window of three that begins at 2 i
                if v >= shape[1] or u >= shape[2]:
                    continue
            result[c, v, u] = signal[c, i, j] + (result[c, v, u] if self.unpool == "sum" else 0.0)
        return result

    @staticmethod
    def scale(x: np.ndarray, i: int) -> np.ndarray:
        return NORM["k"] + NORM["alpha"] / NORM["size"] * sum(x[j] ** 2 for j in (i - 1, i, i + 1) if 0 <= j < len(x))

    def norm_down(self, signal: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Each normalised value's derivative with respect to its own map and to its neighbours'."""
        result = np.zeros_like(signal)
        for i in range(len(x)):
            s = self.scale(x, i)
            result[i] += signal[i] * s ** -NORM["beta"]
            for j in (i - 1, i, i + 1):
                if 0 <= j < len(x):
                    slope = -2 * NORM["alpha"] * NORM["beta"] / NORM["size"] * x[i] * x[j] * s ** (-NORM["beta"] - 1)
                    result[j] += signal[i] * slope
        return result


def literal_projection(
    net: nn.Sequential,
    image: torch.Tensor,
    steps: int,
    unit: tuple[int, ...],
    rule: str,
    seed: str,
    unpool: str,
    lrn: str,
) -> np.ndarray:
    twin = Literal(net, rule, unpool, lrn)
    output = twin.up(image.numpy(), steps)
    np.testing.assert_allclose(output, net[:steps](image[None])[0].detach().numpy(), rtol=1e-10, atol=1e-12)
    signal = np.zeros_like(output)
    signal[unit] = output[unit] if seed == "activation" else 1.0
    return twin.down(signal)


@pytest.mark.parametrize("lrn", ["identity", "adjoint"])
@pytest.mark.parametrize("unpool", ["sum", "overwrite", "centre"])
@pytest.mark.parametrize("rule", RULES)
def test_projections_are_those_of_the_paper_written_out(rule, unpool, lrn):
    net = small_net()
    images = torch.randn(3, 2, 19, 13, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    for layer, units in {
        "1": [(0, 2, 3, 3), (2, 0, 9, 0)],
        "3": [(1, 3, 4, 2)],
        "5": [(0, 1, 2, 1), (1, 2, 4, 2), (2, 0, 0, 0)],
        "6": [(1, 1, 1, 0)],
        "9": [(0, 0), (2, 3), (1, 4)],
    }.items():
        for seed in ("activation", "one"):
            ours = project(net, images, layer, units, rule=rule, seed=seed, unpool=unpool, lrn=lrn)
            for unit, projection in zip(units, ours, strict=True):
                expected = literal_projection(net, images[unit[0]], int(layer) + 1, unit[1:], rule, seed, unpool, lrn)
                np.testing.assert_allclose(projection.numpy(), expected, rtol=1e-9, atol=1e-12)


def test_a_deconvnets_projection_depends_on_the_image_through_its_switches_alone():
    """With the switches of another image, the projection is that image's projection of the unit (claim 4)."""
    net = small_net()
    images = torch.randn(2, 2, 19, 13, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    own, other = Literal(net, "deconvnet", "sum", "identity"), Literal(net, "deconvnet", "sum", "identity")
    signal = np.zeros_like(own.up(images[0].numpy(), 6))
    other.up(images[1].numpy(), 6)
    signal[1, 2, 1] = 1.0
    projections = project(net, images, "5", [(0, 1, 2, 1), (1, 1, 2, 1)], signal="one").numpy()
    np.testing.assert_allclose(own.down(signal), projections[0], rtol=1e-9, atol=1e-12)
    own.record[2] = other.record[2]  # the first pool's switches; the ReLUs' masks and all else stay
    np.testing.assert_allclose(own.down(signal), projections[1], rtol=1e-9, atol=1e-12)
    assert np.abs(projections[0] - projections[1]).max() > 0.1 * np.abs(projections).max()


def test_unpooling_at_centres_by_hand():
    """Windows of three at a stride of two, the last one cut short: its centre is outside and its value is lost."""
    for pool, size, expected in (
        (nn.MaxPool2d(3, 2, ceil_mode=True), 6, [0, 1, 0, 1, 0, 1]),
        (nn.MaxPool2d(3, 2, ceil_mode=True), 4, [0, 1, 0, 1]),
        (nn.MaxPool2d(3, 2, padding=1), 5, [1, 0, 1, 0, 1]),
        (nn.MaxPool2d(2), 4, [1, 0, 1, 0]),
        (nn.MaxPool2d(2, padding=1), 4, [0, 1, 0, 1]),
        (nn.AdaptiveMaxPool2d(3), 7, [0, 1, 0, 1, 0, 1, 0]),  # rows 0 to 2, 2 to 4, 4 to 6
        (nn.MaxPool2d(2, 1, dilation=3), 5, [1, 1, 0, 0, 0]),
    ):
        x = torch.rand(1, 2, size, size, dtype=torch.float64).requires_grad_()
        with BackwardRules("deconvnet", "centre"):
            y = pool(x)
        assert torch.equal(y, pool(x))
        found = torch.autograd.grad(y, x, torch.ones_like(y))[0]
        assert torch.equal(found[0, 0], torch.tensor(expected).double().outer(torch.tensor(expected)))


def test_every_choice_changes_the_small_nets_projection():
    net = small_net()
    images = torch.randn(40, 2, 19, 13, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    strongest = divmod(int(net(images).argmax()), 5)
    seen = {
        (rule, unpool, lrn): project(net, images, "9", [strongest], rule=rule, signal="one", unpool=unpool, lrn=lrn)
        for rule in RULES
        for unpool in ("sum", "overwrite", "centre")
        for lrn in ("identity", "adjoint")
    }
    choices = list(seen)
    for i, a in enumerate(choices):
        assert seen[a].abs().max() > 0
        for b in choices[i + 1 :]:
            assert not torch.allclose(seen[a], seen[b], rtol=1e-3), (a, b)


def test_normalization_is_left_out_by_default_but_for_the_gradient():
    net = small_net()
    images = torch.randn(1, 2, 19, 13, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    for rule, own in (("deconvnet", "identity"), ("guided", "identity"), ("gradient", "adjoint")):
        default = project(net, images, "9", [(0, 3)], rule=rule)
        assert torch.equal(default, project(net, images, "9", [(0, 3)], rule=rule, lrn=own))


def test_torchs_own_normalization_follows_the_same_choice():
    net, images = small_net(), torch.randn(1, 2, 19, 13, dtype=torch.float64)
    other = small_net()
    other[3] = nn.LocalResponseNorm(NORM["size"], NORM["alpha"], NORM["beta"], NORM["k"])
    for lrn in ("identity", "adjoint"):
        ours = project(net, images, "5", [(0, 1, 2, 1)], lrn=lrn, signal="one")
        torch.testing.assert_close(project(other, images, "5", [(0, 1, 2, 1)], lrn=lrn, signal="one"), ours)


@pytest.mark.parametrize("build", [alexnet, zfnet])
def test_the_gradient_rule_is_autograds_gradient_in_our_networks(build):
    torch.manual_seed(0)
    net = build(7, input_size=67, width=0.1, init="he").double().eval()
    images = torch.randn(2, 3, 67, 67, dtype=torch.float64) * 60
    ours = project(net, images, None, [(1, 3), (0, 0)], rule="gradient", signal="one")
    for (image, unit), projection in zip([(1, 3), (0, 0)], ours, strict=True):
        x = images[image : image + 1].clone().requires_grad_()
        expected = torch.autograd.grad(net(x)[0, unit], x)[0][0]
        # A batch of another size adds in another order.
        torch.testing.assert_close(projection, expected, rtol=1e-12, atol=1e-15 * expected.abs().max().item())


def test_the_gradient_rule_is_autograds_gradient_in_a_residual_network():
    torch.manual_seed(0)
    net = resnet18(weights=None).eval()
    images = torch.randn(2, 3, 40, 40)
    ours = project(net, images, None, [(1, 3), (0, 999)], rule="gradient", signal="one")
    for (image, unit), projection in zip([(1, 3), (0, 999)], ours, strict=True):
        x = images[image : image + 1].clone().requires_grad_()
        torch.testing.assert_close(projection, torch.autograd.grad(net(x)[0, unit], x)[0][0])


def test_a_unit_of_the_first_layer_projects_to_its_own_filter():
    torch.manual_seed(0)
    net = zfnet(7, input_size=64, width=0.1, init="he").double().eval()
    images = torch.randn(1, 3, 64, 64, dtype=torch.float64) * 60
    activations = net.get_submodule("conv1")(images)
    feature_map = int(activations[0, :, 10, 12].argmax())
    value = activations[0, feature_map, 10, 12]
    assert value > 0
    expected = torch.zeros(3, 64, 64, dtype=torch.float64)
    # Stride 2, padding 1: unit (10, 12) sees rows 19..25 and columns 23..29.
    expected[:, 19:26, 23:30] = value * net.filters()[feature_map].detach()
    torch.testing.assert_close(
        project(net, images, "conv1", [(0, feature_map, 10, 12)])[0], expected, rtol=1e-12, atol=0
    )
    # The unit before its ReLU has the same one.
    before = project(net, images, "conv1.filter", [(0, feature_map, 10, 12)])[0]
    torch.testing.assert_close(before, expected, rtol=1e-12, atol=0)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    rule=st.sampled_from(RULES),
    unpool=st.sampled_from(["sum", "overwrite"]),
    unit=st.tuples(st.integers(0, 2), st.integers(0, 4), st.integers(0, 2)),
)
def test_the_activation_scales_the_projection_of_one(seed, rule, unpool, unit):
    net = small_net()
    images = torch.randn(1, 2, 19, 13, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    activation = net[:6](images)[0][unit].item()
    options = {"rule": rule, "unpool": unpool}
    from_one = project(net, images, "5", [(0, *unit)], signal="one", **options)
    scaled = project(net, images, "5", [(0, *unit)], **options)
    torch.testing.assert_close(scaled, activation * from_one, rtol=1e-12, atol=1e-15)
