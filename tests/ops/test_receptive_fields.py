"""Receptive fields against the paper's numbers and the pixels that have a gradient."""

from collections.abc import Callable

import pytest
import torch
import torchvision
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from convlens.errors import InputError
from convlens.nets import alexnet, zfnet
from convlens.ops.receptive_field import ReceptiveField, receptive_field, receptive_fields

# Size, stride, and the first pixel of unit 0 (worked out by hand: padding times the stride below it, summed).
PAPER = {
    "zfnet": {
        "conv1": (7, 2, -1), "layer1": (11, 4, -1), "conv2": (27, 8, -1), "layer2": (43, 16, -1),
        "conv3": (75, 16, -17), "conv4": (107, 16, -33), "conv5": (139, 16, -49), "layer5": (171, 32, -49),
    },
    "alexnet": {
        "conv1": (11, 4, -2), "layer1": (19, 8, -2), "conv2": (51, 8, -18), "layer2": (67, 16, -18),
        "conv3": (99, 16, -34), "conv4": (131, 16, -50), "conv5": (163, 16, -66), "layer5": (195, 32, -66),
    },
}  # fmt: skip
BUILD = {"zfnet": zfnet, "alexnet": alexnet}


@pytest.mark.parametrize("name", PAPER)
def test_fields_are_those_of_the_paper(name):
    net = BUILD[name](5, width=0.05)
    fields = receptive_fields(net, list(PAPER[name]), (224, 224))
    assert {layer: (f.size, f.stride, f.start, f.local) for layer, f in fields.items()} == {
        layer: ((size, size), (stride, stride), (start, start), True)
        for layer, (size, stride, start) in PAPER[name].items()
    }


def test_fully_connected_layers_see_the_whole_image():
    net = zfnet(5, input_size=64, width=0.1)
    whole = ReceptiveField((64, 64), (0, 0), (0, 0), local=False)
    assert receptive_fields(net, ["fc6", "fc7", "fc8"], (64, 64)) == dict.fromkeys(["fc6", "fc7", "fc8"], whole)
    assert whole.box(3, 4) == (0, 0, 64, 64)


def test_a_box_is_the_start_and_a_stride_per_unit_with_an_open_end():
    field = ReceptiveField((27, 11), (8, 4), (-1, -3))
    assert field.box() == (-1, -3, 26, 8)
    assert field.box(2, 5) == (15, 17, 42, 28)


def positive(net: nn.Module) -> nn.Module:
    """Every weight counts: all positive, and windows averaged, where the maximum would hide all pixels but one."""
    for name, module in list(net.named_modules()):
        if isinstance(module, nn.MaxPool2d):
            given = (module.kernel_size, module.stride, module.padding, module.ceil_mode)
            net.get_submodule(name.rpartition(".")[0]).add_module(name.rpartition(".")[2], nn.AvgPool2d(*given))
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_((torch.rand_like(parameter) + 0.5) / max(1, parameter[0].numel()))
    return net.double().eval()


Box = tuple[int, int, int, int]


def touched(activation: Tensor, x: Tensor) -> Box | None:
    """Bounding box of the pixels with a gradient."""
    support = torch.autograd.grad(activation, x, retain_graph=True)[0][0].abs().sum(0).nonzero()
    if not len(support):
        return None
    low, high = support.min(0).values.tolist(), support.max(0).values.tolist()
    return low[0], low[1], high[0] + 1, high[1] + 1


def assert_true_windows(net: nn.Module, layers: list[str], size: tuple[int, int], channels: int = 3) -> int:
    """Compare windows with gradients; returns for how many units the two could be compared exactly.

    Units whose window is inside the image see all of it. At a border, places of a layer below may be missing (they
    are padding), so there the window may only be too large.
    """
    fields, kept, exact = receptive_fields(net, layers, size), {}, 0
    handles = [
        net.get_submodule(layer).register_forward_hook(lambda m, a, out, layer=layer: kept.__setitem__(layer, out))
        for layer in layers
    ]
    x = torch.rand(1, channels, *size, dtype=torch.float64).requires_grad_()
    net(x)
    for handle in handles:
        handle.remove()
    for layer in layers:
        assert fields[layer].local, layer
        height, width = kept[layer].shape[-2:]
        for unit in {(0, 0), (height // 2, width // 2), (height - 1, width - 1), (height // 3, 2 * width // 3)}:
            box = fields[layer].box(*unit)
            true = touched(kept[layer][0, :, unit[0], unit[1]].sum(), x)
            if box[0] >= 0 and box[1] >= 0 and box[2] <= size[0] and box[3] <= size[1]:
                assert box == true, (layer, unit)
                exact += 1
            elif true is not None:
                assert all(b <= t for b, t in zip(box[:2], true[:2], strict=True)), (layer, unit, box, true)
                assert all(b >= t for b, t in zip(box[2:], true[2:], strict=True)), (layer, unit, box, true)
    return exact


@pytest.mark.parametrize(
    ("name", "size", "layers"),
    [
        ("alexnet", (130, 97), ["features.0", "features.2", "features.3", "features.5", "features.10", "features.12"]),
        ("vgg11", (96, 80), ["features.0", "features.2", "features.10", "features.15"]),
        ("squeezenet1_1", (99, 131), ["features.2", "features.3", "features.5", "features.7.expand3x3", "features.9"]),
        ("resnet18", (128, 97), ["conv1", "maxpool", "layer1.0", "layer1.1.conv2", "layer2.0", "layer2.1"]),
        ("googlenet", (96, 96), ["maxpool1", "maxpool2", "inception3a", "inception3b.branch4"]),
        ("shufflenet_v2_x0_5", (64, 64), ["maxpool", "stage2.0", "stage2.1"]),
    ],
)
def test_windows_in_well_known_networks_are_the_pixels_that_matter(name, size, layers):
    options = {"init_weights": False} if name == "googlenet" else {}
    with torch.device("meta"):
        net = torchvision.models.get_model(name, weights=None, **options)
    if hasattr(net, "classifier"):
        net.classifier = nn.Identity()  # large, and above all that is looked at
    assert assert_true_windows(positive(net.to_empty(device="cpu")), layers, size) >= len(layers)


@pytest.mark.parametrize("name", BUILD)
def test_windows_in_our_networks_are_the_pixels_that_matter(name):
    net = positive(BUILD[name](5, input_size=99, width=0.05))
    assert assert_true_windows(net, ["conv1", "layer1", "conv2", "layer2", "conv3"], (99, 99)) >= 5


class Function(nn.Module):
    """A function of an image of one channel, as the layer `out` of a network."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.out = nn.Conv2d(1, 1, 1), nn.Identity()
        self.function = function

    def forward(self, images: Tensor) -> Tensor:
        torch.manual_seed(0)
        return self.out(self.function(self.first(images)))


def weight(*shape: int) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64) + 0.5


LOCAL = {
    "oblong kernel and stride": lambda x: F.conv2d(x, weight(1, 1, 3, 5), stride=(1, 2), padding=(0, 2)),
    "dilation": lambda x: F.conv2d(x, weight(1, 1, 3, 3), dilation=2, padding=1),
    "same padding of an even kernel": lambda x: F.conv2d(x, weight(1, 1, 4, 2), padding="same"),
    "same padding with dilation": lambda x: F.conv2d(x, weight(1, 1, 3, 3), padding="same", dilation=(1, 2)),
    "valid padding": lambda x: F.conv2d(x, weight(1, 1, 4, 4), padding="valid"),
    "padding by itself": lambda x: F.conv2d(F.pad(x, (2, 0, 1, 3)), weight(1, 1, 3, 3)),
    "a border cut off": lambda x: F.conv2d(F.pad(x, (-2, 0, -1, 0)), weight(1, 1, 3, 3)),
    "average pools": lambda x: F.avg_pool2d(F.avg_pool2d(x, 2), (3, 2), (2, 1), (1, 0), ceil_mode=True),
    "an adaptive pool that divides": lambda x: F.adaptive_avg_pool2d(x[:, :, :, :], (6, 4)),
    "a skip": lambda x: x + F.conv2d(x, weight(1, 1, 3, 3), padding=1),
    "branches side by side": lambda x: torch.cat([F.conv2d(x, weight(1, 1, 1, 5), padding=(0, 2)), x], 1),
    "a lopsided sum": lambda x: F.conv2d(F.pad(x, (2, 0, 0, 2)), weight(1, 1, 3, 3)).add_(x),
    "channels split and joined": lambda x: torch.cat(F.conv2d(x, weight(2, 1, 3, 3)).chunk(2, 1), 1),
    "channels shuffled": lambda x: (
        F.conv2d(x, weight(4, 1, 3, 3)).view(1, 2, 2, 10, 14).transpose(1, 2).reshape(1, 4, 10, 14)
    ),
    "normalised": lambda x: F.local_response_norm(F.conv2d(x, weight(2, 1, 3, 3)), 2),
    "some channels": lambda x: F.conv2d(x, weight(3, 1, 3, 3))[:, 1:, :, :][..., :, :],
    "scaled": lambda x: 2 * F.conv2d(x, weight(1, 1, 3, 3)) / 3 - 1,
}  # fmt: skip


@pytest.mark.parametrize("name", LOCAL)
def test_windows_of_single_operations_are_the_pixels_that_matter(name):
    assert assert_true_windows(positive(Function(LOCAL[name])), ["out"], (12, 16), channels=1) >= 1


NOT_LOCAL = {
    "a global average": lambda x: x.mean((2, 3), keepdim=True) + x,
    "a pool to one place": lambda x: F.adaptive_avg_pool2d(x, 1),
    "an adaptive pool that does not divide": lambda x: F.adaptive_avg_pool2d(x, 5),
    "channels weighted by a global pool": lambda x: x * F.adaptive_avg_pool2d(x, 1).sigmoid(),
    "every other row": lambda x: x[:, :, ::2],
    "rows by their numbers": lambda x: x[:, :, torch.arange(11, -1, -1)],
    "a norm of the batch": lambda x: F.batch_norm(x, None, None, training=True),
    "turned over": lambda x: x.flip(2),
    "rows for columns": lambda x: x.transpose(2, 3),
    "rows for columns by permute": lambda x: x.permute(0, 1, 3, 2),
    "the image below itself": lambda x: torch.cat([x, x], 2),
    "a summary added everywhere": lambda x: x + F.conv2d(x, weight(1, 1, 12, 12)),
    "wrapped around": lambda x: F.conv2d(F.pad(x, (1, 1, 1, 1), mode="circular"), weight(1, 1, 3, 3)),
    "mirrored": lambda x: F.conv2d(F.pad(x, (3, 3, 3, 3), mode="reflect"), weight(1, 1, 3, 3)),
    "of two strides": lambda x: F.avg_pool2d(x, 2) + F.interpolate(x, scale_factor=0.5),
    "a transposed convolution": lambda x: F.conv_transpose2d(x, weight(1, 1, 2, 2), stride=2),
}


class HeadFirst(nn.Module):
    """Defines its last convolution first."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.stem = nn.Conv2d(8, 4, 3), nn.Conv2d(3, 8, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stem(x))


def test_the_convolution_that_reads_the_image_need_not_be_the_first_defined():
    assert receptive_field(HeadFirst(), "head", (32, 32)).size == (7, 7)


@pytest.mark.parametrize("size", [(0, 5), (5, -1)])
def test_a_size_that_is_none_is_refused(size):
    with pytest.raises(InputError, match="give height and width, two integers of at least 1"):
        receptive_field(HeadFirst(), "head", size)


@pytest.mark.parametrize("name", NOT_LOCAL)
def test_layers_without_windows_depend_on_the_whole_image(name):
    field = receptive_field(positive(Function(NOT_LOCAL[name])), "out", (12, 12))
    assert field == ReceptiveField((12, 12), (0, 0), (0, 0), local=False)


def test_a_layer_changed_in_place_afterwards_keeps_its_own_window():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.small, self.large = nn.Conv2d(1, 1, 3, padding=1), nn.Conv2d(1, 1, 7, padding=3)

        def forward(self, images: Tensor) -> Tensor:
            x = self.small(images)
            x += self.large(images)
            return x

    assert receptive_field(Net(), "small", (16, 16)).size == (3, 3)


@settings(max_examples=20, deadline=None)
@given(
    windows=st.lists(
        st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(0, 2), st.integers(1, 2), st.booleans()),
        min_size=1,
        max_size=3,
    ),
    size=st.tuples(st.integers(24, 32), st.integers(24, 32)),
)
def test_windows_of_stacked_convolutions_and_pools_are_the_pixels_that_matter(windows, size):
    layers: list[nn.Module] = [nn.Conv2d(1, 1, 1)]
    for kernel, stride, padding, dilation, pool in windows:
        # A stride beyond the kernel leaves pixels out, so that some windows have holes, also at their ends.
        stride = min(stride, kernel)
        if pool:
            layers.append(nn.AvgPool2d(kernel, stride, min(padding, kernel // 2), ceil_mode=dilation == 2))
        else:
            layers.append(nn.Conv2d(1, 1, kernel, stride, min(padding, kernel // 2), dilation if stride == 1 else 1))
    net = positive(nn.Sequential(*layers))
    try:
        net(torch.zeros(1, 1, *size, dtype=next(net.parameters()).dtype))
    except RuntimeError:  # a kernel is larger than what is left of the image
        reject()
    assert_true_windows(net, [str(len(layers) - 1)], size, channels=1)


def test_fields_follow_one_another_by_the_textbook_recurrence():
    net = nn.Sequential(
        nn.Conv2d(1, 1, 5, 2, 1), nn.MaxPool2d((3, 2), (2, 1)), nn.Conv2d(1, 1, 3, dilation=2, padding=2)
    )
    # By hand: 5 | 5 + 2*2, 5 + 1*2 | + 4 * 4, + 4 * 2; strides 2 | 4, 2 | 4, 2; starts -1 | -1 | -1 - 2*4, -1 - 2*2.
    assert receptive_field(net, "0", (40, 40)) == ReceptiveField((5, 5), (2, 2), (-1, -1))
    assert receptive_field(net, "1", (40, 40)) == ReceptiveField((9, 7), (4, 2), (-1, -1))
    assert receptive_field(net, "2", (40, 40)) == ReceptiveField((25, 15), (4, 2), (-9, -5))


def test_the_network_is_left_as_it_was():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5)).train()
    net[1].eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    receptive_field(net, "2", (9, 9))
    assert [module.training for module in net.modules()] == [True, True, False, True]
    assert not any(module._forward_hooks for module in net.modules())
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_mistakes_are_answered_in_one_line():
    net = zfnet(5, input_size=64, width=0.1)
    with pytest.raises(InputError, match="unknown layer 'conv9' in ConvNet: did you mean conv"):
        receptive_field(net, "conv9", (64, 64))
    with pytest.raises(InputError, match="built for images of 64 x 64 px and got 48 x 64 px"):
        receptive_field(net, "conv1", (48, 64))
    constant = nn.Sequential(nn.Conv2d(1, 1, 1))
    constant.forward = lambda images: images + constant[0](torch.ones(1, 1, 2, 2)).sum()
    with pytest.raises(InputError, match="layer '0' does not depend on the image"):
        receptive_field(constant, "0", (8, 8))
