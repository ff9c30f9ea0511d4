"""The networks against the papers: maps, parameters, ablations (on the meta device, without computation)."""

import inspect
import math

import pytest
import torch
from torch import nn

from convlens.errors import InputError
from convlens.nets import ContrastNorm, ConvNet, alexnet, zfnet, zfnet_wide

NETWORKS = {"alexnet": alexnet, "zfnet": zfnet}
# conv1, layer1, conv2, layer2, conv3, conv4, conv5, layer5: the order of the rows of Fig 3.
FIG_3 = ("conv1", "layer1", "conv2", "layer2", "conv3", "conv4", "conv5", "layer5")


def on_meta(builder, *args, **kwargs) -> ConvNet:
    with torch.device("meta"):
        return builder(*args, **kwargs).eval()


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def outputs(net: ConvNet) -> dict[str, torch.Size]:
    """Shape of what each step gives for one image."""
    shapes: dict[str, torch.Size] = {}
    for name in net.steps:
        net.get_submodule(name).register_forward_hook(
            lambda module, args, output, name=name: shapes.__setitem__(name, output.shape[1:])
        )
    channels = next(m.in_channels for m in net.modules() if isinstance(m, nn.Conv2d))
    net(torch.zeros(1, channels, net.input_size, net.input_size, device=next(net.parameters()).device))
    return shapes


def conv_table(net: ConvNet) -> dict[str, tuple[int, ...]]:
    """Per convolution: maps read (per group), maps given, kernel, stride, padding, groups."""
    table = {}
    for name in net.conv_names():
        conv = net.get_submodule(f"{name}.filter")
        assert isinstance(conv, nn.Conv2d)
        table[name] = (
            conv.in_channels // conv.groups,
            conv.out_channels,
            conv.kernel_size[0],
            conv.stride[0],
            conv.padding[0],
            conv.groups,
        )
    return table


def linear_table(net: ConvNet) -> dict[str, tuple[int, int]]:
    return {
        name.removesuffix(".filter"): (module.in_features, module.out_features)
        for name, module in net.named_modules()
        if isinstance(module, nn.Linear)
    }


@pytest.mark.parametrize(
    ("name", "total", "conv"), [("alexnet", 60_965_224, 2_334_080), ("zfnet", 62_357_608, 3_726_464)]
)
def test_the_published_networks_have_their_number_of_parameters(name, total, conv):
    net = on_meta(NETWORKS[name])
    assert parameters(net) == total
    assert sum(parameters(net.get_submodule(layer)) for layer in net.conv_names()) == conv


@pytest.mark.parametrize(
    ("name", "sides"),
    [("alexnet", (55, 27, 27, 13, 13, 13, 13, 6)), ("zfnet", (110, 55, 26, 13, 13, 13, 13, 6))],
)
def test_maps_have_the_papers_sizes_at_224_pixels(name, sides):
    shapes = outputs(on_meta(NETWORKS[name]))
    assert tuple(shapes[step][1] for step in FIG_3) == sides
    assert tuple(shapes[step][2] for step in FIG_3) == sides
    assert tuple(shapes[step][0] for step in FIG_3) == (96, 96, 256, 256, 384, 384, 256, 256)
    assert (shapes["fc6"], shapes["fc7"], shapes["fc8"]) == ((4096,), (4096,), (1000,))


def test_alexnet_is_the_table_of_krizhevsky_with_groups_in_layers_2_4_and_5():
    assert conv_table(on_meta(alexnet)) == {
        "conv1": (3, 96, 11, 4, 2, 1),
        "conv2": (48, 256, 5, 1, 2, 2),
        "conv3": (256, 384, 3, 1, 1, 1),
        "conv4": (192, 384, 3, 1, 1, 2),
        "conv5": (192, 256, 3, 1, 1, 2),
    }


def test_zfnet_is_the_table_of_figure_3_and_dense():
    assert conv_table(on_meta(zfnet)) == {
        "conv1": (3, 96, 7, 2, 1, 1),
        "conv2": (96, 256, 5, 2, 0, 1),
        "conv3": (256, 384, 3, 1, 1, 1),
        "conv4": (384, 384, 3, 1, 1, 1),
        "conv5": (384, 256, 3, 1, 1, 1),
    }


def test_groups_keep_the_halves_of_the_maps_apart():
    net = alexnet(5, input_size=64, width=0.1, init="he")
    conv2 = net.get_submodule("conv2.filter")
    x = torch.rand(1, conv2.in_channels, 9, 9)
    changed = x.clone()
    changed[:, : conv2.in_channels // 2] += 1
    difference = (conv2(changed) - conv2(x)).abs().amax((0, 2, 3))
    assert (difference[: conv2.out_channels // 2] > 0).all()
    assert (difference[conv2.out_channels // 2 :] == 0).all()


@pytest.mark.parametrize(("name", "order"), [("alexnet", ("norm", "pool")), ("zfnet", ("pool", "norm"))])
def test_contrast_normalization_stands_before_alexnets_pools_and_after_zfnets(name, order):
    net = on_meta(NETWORKS[name])
    steps = {i: tuple(n for n, _ in net.get_submodule(f"layer{i}").named_children()) for i in range(1, 6)}
    assert steps == {1: order, 2: order, 3: (), 4: (), 5: ("pool",)}
    kinds = {"norm": ContrastNorm, "pool": nn.MaxPool2d}
    for i in (1, 2):
        for step in order:
            assert isinstance(net.get_submodule(f"layer{i}.{step}"), kinds[step])


@pytest.mark.parametrize("name", NETWORKS)
def test_a_layer_is_filtered_rectified_and_then_normalised_in_its_order(name):
    net = NETWORKS[name](5, input_size=64, width=0.1, init="he").eval()
    x = (torch.rand(2, 3, 64, 64) * 200 - 100) * 100  # strong enough for normalisation to matter
    conv1 = net.get_submodule("conv1")(x)
    assert torch.equal(conv1, net.get_submodule("conv1.filter")(x).clamp(min=0))
    norm, pool = net.get_submodule("layer1.norm"), net.get_submodule("layer1.pool")
    expected = pool(norm(conv1)) if name == "alexnet" else norm(pool(conv1))
    other = norm(pool(conv1)) if name == "alexnet" else pool(norm(conv1))
    assert torch.equal(net.get_submodule("layer1")(conv1), expected)
    assert not torch.allclose(expected, other, rtol=1e-4)


@pytest.mark.parametrize(
    ("edit", "name", "total"),
    [
        ({"removed": [3, 4]}, "alexnet", 59_268_712),
        ({"removed": [3, 4]}, "zfnet", 59_850_088),
        ({"removed": [7]}, "alexnet", 44_183_912),
        ({"removed": [7]}, "zfnet", 45_576_296),
        ({"removed": [6, 7]}, "alexnet", 11_551_080),
        ({"removed": [6, 7]}, "zfnet", 12_943_464),
        ({"removed": [3, 4, 6, 7]}, "alexnet", 9_854_568),
        ({"removed": [3, 4, 6, 7]}, "zfnet", 10_435_944),
        ({"maps": {"fc6": 2048, "fc7": 2048}}, "alexnet", 27_455_848),
        ({"maps": {"fc6": 2048, "fc7": 2048}}, "zfnet", 28_848_232),
        ({"maps": {"fc6": 8192, "fc7": 8192}}, "alexnet", 153_149_800),
        ({"maps": {"fc6": 8192, "fc7": 8192}}, "zfnet", 154_542_184),
        ({"maps": {"conv3": 512, "conv4": 1024, "conv5": 512}}, "zfnet", 107_627_624),
    ],
    ids=str,
)
def test_the_ablations_of_table_3_have_the_parameters_counted_by_hand(edit, name, total):
    # Layers 1 and 2 and all else unchanged; e.g. no layers 3, 4: conv5 reads 256 maps (128 per group in AlexNet).
    assert parameters(on_meta(NETWORKS[name], **edit)) == total


def test_without_layers_3_and_4_layer_5_reads_layer_2():
    assert conv_table(on_meta(alexnet, removed=[3, 4]))["conv5"] == (128, 256, 3, 1, 1, 2)
    net = on_meta(zfnet, removed=(3, 4))
    assert list(conv_table(net)) == ["conv1", "conv2", "conv5"]
    assert conv_table(net)["conv5"] == (256, 256, 3, 1, 1, 1)
    assert " ".join(net.steps) == "conv1 layer1 conv2 layer2 conv5 layer5 flatten fc6 drop6 fc7 drop7 fc8"
    assert linear_table(net) == {"fc6": (9216, 4096), "fc7": (4096, 4096), "fc8": (4096, 1000)}


def test_without_layer_7_the_classifier_reads_layer_6():
    net = on_meta(zfnet, removed=[7])
    assert linear_table(net) == {"fc6": (9216, 4096), "fc8": (4096, 1000)}
    assert net.steps[-4:] == ["flatten", "fc6", "drop6", "fc8"]


def test_without_layers_6_and_7_the_classifier_reads_the_6x6x256_values_of_layer_5():
    for net in (on_meta(zfnet, removed=[6, 7]), on_meta(alexnet, removed=[3, 4, 6, 7])):
        assert linear_table(net) == {"fc8": (9216, 1000)}
        assert net.steps[-2:] == ["flatten", "fc8"]
        assert outputs(net)["fc8"] == (1000,)


def test_without_layer_5_its_pool_is_gone_too():
    net = on_meta(zfnet, removed=[5])
    assert linear_table(net)["fc6"] == (13 * 13 * 384, 4096)


def test_the_wide_network_is_the_edit_of_the_middle_layers():
    wide = on_meta(zfnet_wide)
    assert parameters(wide) == 107_627_624
    assert [row[1] for row in conv_table(wide).values()] == [96, 256, 512, 1024, 512]
    assert linear_table(wide)["fc6"] == (36 * 512, 4096)


def test_dropout_follows_the_fully_connected_layers_only():
    net = on_meta(zfnet, dropout=0.25)
    assert {n: m.p for n, m in net.named_modules() if isinstance(m, nn.Dropout)} == {"drop6": 0.25, "drop7": 0.25}
    assert on_meta(alexnet).get_submodule("drop6").p == 0.5


def test_width_scales_all_maps_and_units_to_multiples_of_eight():
    net = on_meta(alexnet, 10, width=0.3)
    # 96, 256, 384, 384, 256, 4096 times 0.3 = 28.8, 76.8, 115.2, 115.2, 76.8, 1228.8
    assert [row[1] for row in conv_table(net).values()] == [32, 80, 112, 112, 80]
    assert linear_table(net) == {"fc6": (80 * 36, 1232), "fc7": (1232, 1232), "fc8": (1232, 10)}
    assert [row[1] for row in conv_table(on_meta(zfnet, width=0.01)).values()] == [8] * 5
    assert parameters(on_meta(zfnet, width=1)) == 62_357_608


def test_width_is_applied_after_other_numbers_of_maps():
    assert linear_table(on_meta(zfnet, maps={"fc6": 2048}, width=0.5))["fc6"] == (128 * 36, 1024)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("size", [*range(64, 101), 127, 128, 225, 227])
def test_the_classifier_fits_every_input_size(name, size):
    net = on_meta(NETWORKS[name], 7, input_size=size, width=0.1)
    shapes = outputs(net)
    assert shapes["fc8"] == (7,)
    assert linear_table(net)["fc6"][0] == math.prod(shapes["layer5"])


@pytest.mark.parametrize(
    ("name", "size", "sides"),
    [
        ("alexnet", 64, (15, 7, 7, 3, 3, 3, 3, 1)),
        ("zfnet", 64, (30, 15, 6, 3, 3, 3, 3, 1)),
        ("alexnet", 99, (24, 11, 11, 5, 5, 5, 5, 2)),
        ("zfnet", 99, (48, 24, 10, 5, 5, 5, 5, 2)),
    ],
)
def test_maps_of_small_images_have_the_sizes_computed_by_hand(name, size, sides):
    shapes = outputs(on_meta(NETWORKS[name], 7, input_size=size, width=0.1))
    assert tuple(shapes[step][1] for step in FIG_3) == sides


@pytest.mark.parametrize(("name", "smallest"), [("alexnet", 63), ("zfnet", 47)])
def test_too_small_images_are_answered_with_the_smallest_that_fit(name, smallest):
    with pytest.raises(InputError, match=rf"{smallest - 1} px are too small.*at least {smallest} px") as error:
        NETWORKS[name](7, input_size=smallest - 1, width=0.1)
    assert "\n" not in str(error.value)
    shapes = outputs(NETWORKS[name](7, input_size=smallest, width=0.1).eval())
    assert shapes["layer5"][1:] == (1, 1)


def test_images_of_another_size_are_answered_with_both_sizes():
    net = zfnet(7, input_size=64, width=0.1)
    with pytest.raises(InputError, match=r"built for images of 64 x 64 px and got 64 x 72 px.*input_size=72"):
        net(torch.zeros(1, 3, 64, 72))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"removed": [8]}, "cannot remove layer 8: the network's layers are 1, 2, 3, 4, 5, 6, 7"),
        ({"removed": [1, 2, 3, 4, 5]}, r"removing layers \[1, 2, 3, 4, 5\] leaves no convolution"),
        ({"maps": {"conv6": 5}}, "cannot resize layer 'conv6': the network's layers are conv1, conv2"),
        ({"maps": {"conv2": 0}}, "layer 'conv2' cannot have 0 maps"),
        ({"width": 0.0}, "width=0.0 is not possible"),
        ({"num_classes": 1}, "num_classes=1: a classifier needs at least 2"),
        ({"removed": [1]}, "layer 'conv2' reads 3 maps.*2 groups"),
        ({"maps": {"conv1": 97}}, "layer 'conv2' reads 97 maps.*2 groups"),
        ({"maps": {"conv4": 385}}, "layer 'conv4' reads 384 maps and gives 385.*2 groups"),
    ],
    ids=str,
)
def test_impossible_edits_are_refused_in_one_line(edit, message):
    with pytest.raises(InputError, match=message) as error:
        on_meta(alexnet, **edit)
    assert "\n" not in str(error.value)


def test_images_may_have_any_number_of_channels():
    net = on_meta(zfnet, 4, in_channels=1, input_size=64, width=0.1)
    assert net.filters().shape == (8, 1, 7, 7)
    assert outputs(net)["fc8"] == (4,)


def test_filters_are_the_weights_themselves():
    net = zfnet(4, input_size=64, width=0.1)
    assert net.filters().data_ptr() == net.get_submodule("conv1.filter").weight.data_ptr()
    assert net.filters("conv3").shape == (40, 24, 3, 3)


def biases(net: ConvNet) -> dict[str, set[float]]:
    return {
        name.removesuffix(".filter"): set(module.bias.tolist())
        for name, module in net.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    }


def test_gaussian_weights_have_deviation_one_hundredth_in_every_layer():
    torch.manual_seed(0)
    net = zfnet(200, input_size=64, width=0.25)
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            n = module.weight.numel()
            assert module.weight.std().item() == pytest.approx(0.01, rel=5 / math.sqrt(2 * n)), name
            assert module.weight.mean().item() == pytest.approx(0, abs=5 * 0.01 / math.sqrt(n)), name


def test_biases_start_from_one_where_alexnets_do_and_from_zero_in_zfnet():
    zero, one = {0.0}, {1.0}
    assert biases(alexnet(5, input_size=64, width=0.1)) == {
        "conv1": zero, "conv2": one, "conv3": zero, "conv4": one, "conv5": one, "fc6": one, "fc7": one, "fc8": zero,
    }  # fmt: skip
    assert set(map(frozenset, biases(zfnet(5, input_size=64, width=0.1)).values())) == {frozenset(zero)}


@pytest.mark.parametrize("name", NETWORKS)
def test_he_weights_have_the_deviation_of_their_fan_in_the_first_layer_a_hundredth_and_no_bias(name):
    torch.manual_seed(0)
    net = NETWORKS[name](200, input_size=64, width=0.25, init="he")
    for label, module in net.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            fan_in = module.weight[0].numel()
            expected, n = math.sqrt(2 / fan_in), module.weight.numel()
            expected *= 0.01 if label.startswith("conv1") else 1
            assert module.weight.std().item() == pytest.approx(expected, rel=5 / math.sqrt(2 * n)), label
    assert all(values == {0.0} for values in biases(net).values())


def test_an_unknown_init_is_answered_with_the_known_ones():
    net = zfnet(5, input_size=64, width=0.1)
    with pytest.raises(InputError, match=r"init='xavier' is unknown: choose gaussian .* or he"):
        # The checked signature would refuse it first under pytest.
        inspect.unwrap(ConvNet.init_weights)(net, "xavier")


def test_filters_of_a_layer_can_be_changed():
    net = alexnet(5, input_size=64, width=0.1, filters={"conv1": {"kernel": 7, "stride": 2, "padding": 2}})
    conv = net.get_submodule("conv1.filter")
    assert (conv.kernel_size, conv.stride, conv.padding) == ((7, 7), (2, 2), (2, 2))
    assert net(torch.zeros(1, 3, 64, 64)).shape == (1, 5)


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"conv9": {"kernel": 3}}, "cannot change the filters of 'conv9': the network's convolutions are conv1, conv2"),
        ({"fc6": {"kernel": 3}}, "cannot change the filters of 'fc6'"),
        ({"conv1": {"stride": 0}}, "conv1 with stride=0: give whole numbers for kernel, stride, padding, groups"),
        ({"conv1": {"maps": 3}}, "conv1 with maps=3: give whole numbers"),
    ],
)
def test_filters_that_cannot_be_are_refused(filters, message):
    with pytest.raises(InputError, match=message):
        alexnet(5, filters=filters)
