import math

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import models

import convlens
from convlens.analysis.occlusion.faithfulness import (
    EDGES,
    OTHER,
    faithfulness,
    faithfulness_claims,
    peak_unit,
    pictures,
)
from convlens.analysis.occlusion.localization import box_sums, localization_claim, localize
from convlens.analysis.occlusion.occlude import OcclusionMaps, occlude, occlude_each, places, usual_square
from convlens.analysis.occlusion.occluders import filling
from convlens.deconv import project
from convlens.errors import InputError
from convlens.nets import zfnet


def literal(net: nn.Module, image: Tensor, target: int, size: int, stride: int, value: Tensor, layer: str, number: int):
    """One square after the other, whole images, in float64."""
    net, image = net.double().eval(), image.double()
    height, width = image.shape[1:]
    tops = [t for t in range(height) if t + size <= height and (t % stride == 0 or t + size == height)]
    lefts = [t for t in range(width) if t + size <= width and (t % stride == 0 or t + size == width)]
    found = {name: torch.zeros(len(tops), len(lefts), dtype=torch.float64) for name in "pla"}
    kept: list[Tensor] = []
    handle = net.get_submodule(layer).register_forward_hook(lambda *call: kept.append(call[2].clone()))
    for i, top in enumerate(tops):
        for j, left in enumerate(lefts):
            covered = image.clone()
            covered[:, top : top + size, left : left + size] = value.double()[:, top : top + size, left : left + size]
            with torch.no_grad():
                output = net(covered[None])[0]
            found["p"][i, j] = output.softmax(0)[target]
            found["l"][i, j] = output.argmax()
            found["a"][i, j] = kept.pop()[0, number].clamp(min=0).sum()
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
def test_maps_are_those_of_whole_images(build, side, layer, size, stride):
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
    # 4 x 4 ones, a square of 2 x 2 twos: sum 12 of ones and 8 of twos, mean 20 / 16.
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
    kept: list[Tensor] = []
    net.get_submodule("conv3").register_forward_hook(lambda *call: kept.append(call[2]))
    with torch.no_grad():
        net(image[None])
    expected = int(kept[0][0].flatten(1).amax(1).argmax())
    assert occlude(net, image, None, size=60, stride=4, layer="conv3").map == expected
    assert peak_unit(net, image, "conv3", expected)[2:] == divmod(int(kept[0][0, expected].argmax()), kept[0].shape[-1])


def test_the_paper_has_30_by_30_places_and_other_sizes_are_in_proportion():
    assert usual_square(224) == (50, 6)
    assert usual_square(112) == (25, 3)
    assert usual_square(4) == (1, 1)
    assert len(places(224, 50, 6)) == 30
    assert places(224, 16, 4)[-1] == 208  # Krypton drops this one
    assert len(places(224, 16, 4)) == 53
    assert places(10, 4, 4) == [0, 4, 6]
    assert places(10, 10, 3) == [0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 65}, "a square of 65 px does not fit in an image of 64 px: give 1 to 64"),
        ({"size": 0}, "a square of 0 px does not fit"),
        ({"stride": 0}, "stride 0: the square must move by at least 1 px"),
        ({"target": 5}, "label 5 is out of range: the network has the classes 0 to 4"),
        ({"target": -1}, "label -1 is out of range"),
        ({"target": None}, "nothing to look at: give a target, a layer, or both"),
        ({"layer": "conv9"}, "unknown layer 'conv9'"),
        ({"layer": "conv1", "map": 99}, "map 99 of conv1 is out of range: there are the maps 0 to"),
        ({"image": torch.zeros(3, 50, 64)}, "cannot read images of shape"),
    ],
)
def test_what_cannot_be_covered_is_said(change, message):
    net = zfnet(5, input_size=64, width=0.1).eval()
    given = {"image": torch.randn(3, 64, 64), "target": 1} | change
    with pytest.raises(InputError, match=message):
        occlude(net, given.pop("image"), given.pop("target"), **given)


def test_a_network_without_classes_is_refused_a_target():
    with pytest.raises(InputError, match="not one number for each class"):
        occlude(nn.Conv2d(3, 2, 3), torch.zeros(3, 8, 8), 0, size=2, stride=2)


# ---- fillings ---------------------------------------------------------------------------------------------------


def test_fillings():
    torch.manual_seed(0)
    pixels, mean, std = torch.rand(3, 32, 32) * 255, torch.full((3, 32, 32), 100.0), torch.tensor([2.0, 4.0, 8.0])
    image = (pixels - mean) / std[:, None, None]
    grey = filling("grey", image, mean=mean, std=std)
    assert grey.flatten(1)[:, 0].tolist() == [12.0, 6.0, 3.0]
    assert torch.equal(filling(100, image, mean=mean, std=std), torch.zeros(3, 32, 32))
    assert filling("mean", image).flatten(1).std(1).max() == 0
    torch.testing.assert_close(filling("mean", image)[:, 3, 5], image.mean((1, 2)))
    noise = filling("noise", image, seed=3)
    assert torch.equal(noise, filling("noise", image, seed=3))
    torch.testing.assert_close(noise.std((1, 2)), image.std((1, 2)), rtol=0.1, atol=0)
    from scipy.ndimage import gaussian_filter

    expected = np.stack([gaussian_filter(plane, 2.0, mode="nearest", truncate=3.0) for plane in image.numpy()])
    np.testing.assert_allclose(filling("blur", image).numpy(), expected, atol=1e-4)
    with pytest.raises(InputError, match="fill 'red' is unknown: choose one of grey, mean, blur, noise, or a grey"):
        filling("red", image)


# ---- claims -----------------------------------------------------------------------------------------------------


def drawn(seed: int, side: int = 20, size: int = 5) -> OcclusionMaps:
    rng = torch.Generator().manual_seed(seed)
    spots = torch.tensor(places(side, size, 3))
    return OcclusionMaps(
        spots, spots, size, 0, torch.rand(len(spots), len(spots), generator=rng), None,
        torch.rand(len(spots), len(spots), generator=rng) * 3, 0, 0.9, 0, 4.0,
    )  # fmt: skip


def test_localisation_against_a_slow_twin():
    maps, thing = drawn(1), torch.zeros(20, 20, dtype=torch.bool)
    thing[4:11, 6:13] = True
    found = localize(maps, thing)
    inside, outside, drops, flags = [], [], [], []
    for i, top in enumerate(maps.tops.tolist()):
        for j, left in enumerate(maps.lefts.tolist()):
            drop = 0.9 - float(maps.probability[i, j])
            flag = bool(thing[top + 2, left + 2])
            drops.append(drop)
            flags.append(flag)
            if flag:
                inside.append(drop)
            if not thing[top : top + 5, left : left + 5].any():
                outside.append(drop)
    assert found.inside == pytest.approx(np.mean(inside))
    assert found.outside == pytest.approx(np.mean(outside))
    assert found.hit == flags[int(np.argmax(drops))]
    assert found.chance == pytest.approx(np.mean(flags))
    assert found.auc == pytest.approx(roc_auc_score(flags, drops))


def test_an_object_that_is_everywhere_or_nowhere_tells_nothing():
    assert localize(drawn(1), torch.ones(20, 20, dtype=torch.bool)) is None
    assert localize(drawn(1), torch.zeros(20, 20, dtype=torch.bool)) is None


def test_box_sums_are_sums_over_boxes():
    picture = torch.rand(9, 12)
    tops, lefts = torch.tensor([0, 4]), torch.tensor([0, 3, 7])
    found = box_sums(picture, tops, lefts, 5)
    for i, top in enumerate(tops):
        for j, left in enumerate(lefts):
            assert float(found[i, j]) == pytest.approx(float(picture[top : top + 5, left : left + 5].sum()), rel=1e-6)


def test_faithfulness_against_scipy():
    maps = drawn(2)
    energies = {name: torch.rand(20, 20) for name in ("deconvnet", "gradient", OTHER, EDGES)}
    found = faithfulness(maps, energies)
    drop = 1 - maps.activation.double().flatten().numpy() / 4.0
    inside = {name: box_sums(e, maps.tops, maps.lefts, 5).flatten().numpy() for name, e in energies.items()}
    for name, energy in inside.items():
        assert found.correlation[name] == pytest.approx(stats.spearmanr(energy, drop).statistic, abs=1e-6)
    for name, energy in inside.items():
        order = np.argsort(-energy)
        cut = drop[order[: len(order) // 10]].mean() - drop[order[len(order) // 2 :]].mean()
        assert found.cuts[name] == pytest.approx(cut)
    expected = stats.pearsonr(maps.activation.flatten(), maps.probability.flatten()).statistic
    assert found.agreement == pytest.approx(expected, abs=1e-6)


def test_a_map_that_is_silent_or_never_changes_tells_nothing():
    maps = drawn(2)
    silent = OcclusionMaps(maps.tops, maps.lefts, 5, activation=maps.activation, clean_activation=0.0)
    steady = OcclusionMaps(maps.tops, maps.lefts, 5, activation=maps.activation * 0 + 4, clean_activation=4.0)
    energies = {"deconvnet": torch.rand(20, 20)}
    assert faithfulness(silent, energies) is None
    assert faithfulness(steady, energies) is None


def test_pictures_are_energies_of_projections():
    torch.manual_seed(0)
    net, image = zfnet(5, input_size=64, width=0.2, init="he").eval(), torch.randn(3, 64, 64)
    unit = peak_unit(net, image, "conv2", 4)
    found = pictures(net, image, "conv2", 4, 7)
    for rule in ("deconvnet", "gradient", "guided"):
        expected = project(net, image[None], "conv2", [unit], rule=rule)[0].abs().sum(0)
        torch.testing.assert_close(found[rule], expected)
    other = project(net, image[None], "conv2", [(0, 7, *unit[2:])], seed="one")[0].abs().sum(0)
    torch.testing.assert_close(found[OTHER], other)
    brightness = image.mean(0)
    assert float(found[EDGES][5, 6]) == pytest.approx(
        float((brightness[6, 6] - brightness[5, 6]).abs() + (brightness[5, 7] - brightness[5, 6]).abs()), rel=1e-5
    )


class Bright(nn.Module):
    """Says yes where the middle is bright, so covering the middle, and nothing else, changes its mind."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(1, 2, 3, padding=1, bias=False)
        nn.init.constant_(self.a.weight, 0.1)

    def forward(self, x: Tensor) -> Tensor:
        maps = F.relu(self.a(x))
        return torch.stack([maps[:, 0, 8:16, 8:16].mean((1, 2)) * 5, maps[:, 0, 0, 0] * 0 + 1], 1)


def claims_of(count: int):
    net = Bright()
    thing = torch.zeros(24, 24, dtype=torch.bool)
    thing[8:16, 8:16] = True
    local, faithful = [], []
    for seed in range(count):
        image = torch.rand(1, 24, 24, generator=torch.Generator().manual_seed(seed)) * 0.3
        image[:, 8:16, 8:16] += 1
        maps = occlude(net, image, 0, size=6, stride=2, layer="a")
        local.append(localize(maps, thing))
        energies = {"deconvnet": image[0] ** 2, OTHER: torch.rand(24, 24), EDGES: torch.rand(24, 24)}
        faithful.append(faithfulness(maps, energies))
    return localization_claim(local, ""), faithfulness_claims(faithful, "a")


def test_a_network_that_looks_at_the_object_supports_the_claim_with_enough_images():
    seventeen, others = claims_of(8)
    assert (seventeen.number, seventeen.verdict) == (17, "supports")
    assert [(claim.number, claim.verdict) for claim in others] == [(1, "supports"), (2, "supports"), (18, "refutes")]
    assert seventeen.controls["AUC of the drop against the object"].startswith("1.000")
    few, others = claims_of(3)
    assert few.verdict == "can't tell"
    assert {claim.verdict for claim in others} == {"can't tell"}


def test_many_images_and_sizes():
    torch.manual_seed(0)
    net, images = zfnet(5, input_size=64, width=0.1, init="he").eval(), torch.randn(2, 3, 64, 64)
    found = list(occlude_each(net, images, [1, 3], sizes=[10, 30], stride=20))
    assert [[one.size for one in maps] for maps in found] == [[10, 30]] * 2
    torch.testing.assert_close(found[1][0].probability, occlude(net, images[1], 3, size=10, stride=20).probability)
    with pytest.raises(InputError, match="2 images with 1 targets: give a target for each"):
        list(occlude_each(net, images, [1]))


def test_it_is_a_verb_of_the_library():
    assert convlens.occlude is occlude
