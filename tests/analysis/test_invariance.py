from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import convlens
from convlens.analysis.invariance.claims import (
    change_of_output,
    displacement,
    fit_of_a_line,
    flips,
    invariance_claims,
    small_amount,
)
from convlens.analysis.invariance.curves import Invariance, invariance
from convlens.analysis.invariance.transforms import amounts, transform
from convlens.errors import InputError
from convlens.nets import zfnet

# ---- transformations --------------------------------------------------------------------------------------------


def test_the_papers_amounts():
    down = amounts("translation", 224, 61)
    assert (down.min(), down.max(), 0 in down, 4 in down) == (-63, 63, True, True)
    assert (amounts("scale", 224, 11).min(), amounts("scale", 224, 11).max()) == (1, 2)
    turns = amounts("rotation", 224, 33)
    assert {0, 90, 180, 270, 360, 45} <= set(turns.tolist())
    with pytest.raises(InputError, match="transformation 'shear' is unknown: choose one of translation, scale, rot"):
        amounts("shear", 224, 5)
    with pytest.raises(InputError, match="2 steps: give at least 3"):
        amounts("scale", 224, 2)


def test_translations_by_hand():
    image = torch.arange(9.0).view(1, 3, 3)
    black = transform(image, "translation", [0, 1, -1, 3], black=-5.0)
    assert black[0].equal(image)
    assert black[1, 0].tolist() == [[-5, -5, -5], [0, 1, 2], [3, 4, 5]]
    assert black[2, 0].tolist() == [[3, 4, 5], [6, 7, 8], [-5, -5, -5]]
    assert (black[3] == -5).all()
    assert transform(image, "translation", [1], border="reflect")[0, 0].tolist() == [[0, 1, 2], [0, 1, 2], [3, 4, 5]]
    assert transform(image, "translation", [-2], border="reflect")[0, 0].tolist() == [[6, 7, 8], [6, 7, 8], [3, 4, 5]]


def test_the_content_of_a_larger_source_comes_in():
    source = torch.rand(3, 20, 20)
    moved = transform(source, "translation", [0, 4, -3], border="source", size=10)
    assert moved[0].equal(source[:, 5:15, 5:15])
    assert moved[1].equal(source[:, 1:11, 5:15])
    assert moved[2].equal(source[:, 8:18, 5:15])
    torch.testing.assert_close(transform(source, "scale", [1.0], border="source", size=10)[0], source[:, 5:15, 5:15])
    half = transform(source, "scale", [0.5], border="source", size=10)
    torch.testing.assert_close(half[0].mean(), source.mean(), atol=0.05, rtol=0)


@pytest.mark.parametrize(("angle", "turns"), [(90, 1), (180, 2), (270, 3), (360, 0), (0, 0)])
def test_quarter_turns_are_exact_and_against_the_clock(angle, turns):
    image = torch.rand(2, 9, 9)
    torch.testing.assert_close(transform(image, "rotation", [angle])[0], image.rot90(turns, (1, 2)), atol=1e-5, rtol=0)


def test_rotation_is_pillows():
    pixels = (torch.rand(31, 31) * 255).round()
    pillow = Image.fromarray(pixels.numpy().astype(np.float32)).rotate(30, Image.Resampling.BILINEAR)
    ours = transform(pixels[None], "rotation", [30])[0, 0]
    inner = slice(8, -8)
    np.testing.assert_allclose(ours[inner, inner], np.asarray(pillow)[inner, inner], atol=0.6)
    assert ours[0, 0] == 0  # the corner comes from outside


def test_a_picture_of_one_colour_stays_so_inside_whatever_is_done_to_it():
    image = torch.full((1, 16, 16), 7.0)
    for kind, value in (("rotation", 33.0), ("scale", 1.7)):
        found = transform(image, kind, [value], border="reflect")
        torch.testing.assert_close(found, torch.full_like(found, 7.0))
        blackened = transform(image, kind, [value], black=7.0)
        torch.testing.assert_close(blackened, torch.full_like(found, 7.0))


def test_scaling_keeps_the_middle_and_enlarges():
    image = torch.zeros(1, 17, 17)
    image[:, 6:11, 6:11] = 1
    found = transform(image, "scale", [2.0])[0]
    assert float(found.sum()) == pytest.approx(4 * 25, rel=0.05)
    assert float(found[0, 8, 8]) == 1


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("shear", {}, "transformation 'shear' is unknown"),
        ("scale", {"size": 10}, "size 10 is more than the image's 8 x 8 px"),
    ],
)
def test_what_is_no_transformation_is_said(kind, options, message):
    with pytest.raises(InputError, match=message):
        transform(torch.zeros(1, 8, 8), kind, [1.5], **options)


# ---- distances --------------------------------------------------------------------------------------------------


def test_distances_against_a_slow_twin():
    torch.manual_seed(0)
    net = zfnet(5, input_size=64, width=0.1, init="he").eval()
    images, values = [torch.rand(3, 64, 64) * 255 for _ in range(3)], np.array([-5.0, 0.0, 8.0])
    ours = invariance(
        net, images, [1, 2, 0], ["conv1", "fc7"], "translation", values, preprocess=lambda x: x - 100, batch_size=2
    )
    net = net.double()
    kept: dict[str, Tensor] = {}
    for layer in ("conv1", "fc7"):
        net.get_submodule(layer).register_forward_hook(
            lambda m, a, out, layer=layer: kept.update({layer: out[0].flatten().clone()})
        )
    originals: dict[str, list[Tensor]] = {"conv1": [], "fc7": []}
    with torch.no_grad():
        for i, image in enumerate(images):
            clean = net(image.double()[None] - 100)[0].softmax(0)
            own = dict(kept)
            for layer in originals:
                originals[layer].append(own[layer])
            assert float(ours.clean_probability[i]) == pytest.approx(float(clean[[1, 2, 0][i]]), abs=1e-5)
            assert int(ours.clean_label[i]) == int(clean.argmax())
            for j, down in enumerate(values.astype(int)):
                moved = torch.zeros(3, 64, 64, dtype=torch.float64)
                for row in range(64):
                    if 0 <= row - down < 64:
                        moved[:, row] = image.double()[:, row - down]
                output = net(moved[None] - 100)[0].softmax(0)
                assert float(ours.probability[i, j]) == pytest.approx(float(output[[1, 2, 0][i]]), abs=1e-5)
                assert int(ours.label[i, j]) == int(output.argmax())
                for layer in originals:
                    x, y = own[layer], kept[layer]
                    raw, unit = (x - y).norm(), (x / x.norm() - y / y.norm()).norm()
                    got = ours.distance[layer]
                    assert float(got["raw"][i, j]) == pytest.approx(float(raw), rel=1e-4, abs=1e-3)
                    assert float(got["relative"][i, j]) == pytest.approx(float(raw / x.norm()), rel=1e-4, abs=1e-5)
                    assert float(got["unit"][i, j]) == pytest.approx(float(unit), rel=1e-4, abs=1e-5)
    for layer, features in originals.items():
        pairs = [(a - b).square().sum() for i, a in enumerate(features) for j, b in enumerate(features) if i != j]
        assert ours.apart[layer] == pytest.approx(float(torch.stack(pairs).mean().sqrt()), rel=1e-4)


@pytest.mark.parametrize(
    ("images", "targets", "message"),
    [
        ([], [], "0 images with 0 targets"),
        ([torch.zeros(3, 64, 64)], [9], "label 9 is out of range: the network has the classes 0 to 4"),
        ([torch.zeros(3, 64, 64)], [], "1 images with 0 targets: give a target for each"),
        ([torch.zeros(3, 40, 40)], [1], "cannot read images of shape"),
    ],
)
def test_what_cannot_be_compared_is_said(images, targets, message):
    net = zfnet(5, input_size=64, width=0.1).eval()
    with pytest.raises(InputError, match=message):
        invariance(net, images, targets, ["conv1"], "scale", np.array([1.0, 1.5]))


# ---- claims -----------------------------------------------------------------------------------------------------


def made(kind: str, values, first, last, probability, count: int = 8) -> Invariance:
    """The same curves for each image, with a little of its own."""
    values = np.asarray(values, float)
    own = 1 + torch.arange(count)[:, None].double() / 100
    distance = {
        name: {form: own * torch.as_tensor(curve, dtype=torch.float64) for form in ("raw", "relative", "unit")}
        for name, curve in (("first", first), ("last", last))
    }
    p = (torch.as_tensor(probability, dtype=torch.float64).expand(count, len(values))) / own
    label = (p < 0.5).long()
    clean = torch.full((count,), 0.9, dtype=torch.float64) / own[:, 0]
    return Invariance(kind, values, distance, {"first": 2.0, "last": 1.0}, p, label, clean, torch.zeros(count).long())


def test_claims_of_curves_like_the_papers():
    t = np.linspace(-63, 63, 22)
    translation = made("translation", t, 2 * (1 - np.exp(-np.abs(t) / 4)), np.abs(t) / 100, 0.9 - np.abs(t) / 400)
    s = np.linspace(1, 2, 21)
    scale = made("scale", s, 2 * (1 - np.exp(-(s - 1) * 20)), (s - 1) * 0.6, 0.9 - (s - 1) / 10)
    r = np.linspace(0, 360, 33)
    peak = np.isin(r % 90, [0.0])
    rotation = made("rotation", r, 2 * (r > 0) + 0.0, np.sin(np.deg2rad(r / 2)), np.where(peak, 0.8, 0.1))
    found = {"translation": translation, "scale": scale, "rotation": rotation}
    claims = invariance_claims(found, "first", "last", 224, [True, False] * 4)
    verdicts = [(claim.number, claim.about.split(" ")[0], claim.verdict) for claim in claims]
    assert verdicts == [
        (10, "translation", "supports"), (11, "translation", "supports"),
        (10, "scale", "supports"), (11, "scale", "supports"),
        (10, "rotation", "supports"), (12, "", "supports"), (13, "classes", "can't tell"),
    ]  # fmt: skip
    # Four symmetric classes are too few to decide, and of classes that are not known nothing is said.
    assert invariance_claims({"rotation": rotation, "scale": scale}, "first", "last", 224)[-1].number == 12
    # The other way round, all of them are refuted.
    swapped = {kind: made(kind, one.values, one.distance["last"]["raw"][0], one.distance["first"]["raw"][0], 0.5)
               for kind, one in found.items() if kind != "rotation"}  # fmt: skip
    turned = invariance_claims(swapped, "first", "last", 224)
    assert {claim.verdict for claim in turned if claim.number == 11} == {"refutes"}


def test_a_symmetry_is_judged_by_what_classes_without_one_do():
    r = np.linspace(0, 360, 33)
    one = made("rotation", r, 2 * (r > 0) + 0.0, np.sin(np.deg2rad(r / 2)), np.where(r % 90 == 0, 0.8, 0.1), count=16)
    symmetric = [True, False] * 8

    def claim(**changed):
        return invariance_claims({"rotation": replace(one, **changed)}, "first", "last", 224, symmetric)[-1]

    # Quarter turns lose no pixel: that all classes peak there says nothing of symmetries.
    assert claim().verdict == "can't tell"
    probability = one.probability.clone()
    probability[1::2] = 0.3
    assert claim(probability=probability).verdict == "supports"
    assert claim(probability=probability).estimate.value == pytest.approx(0.7, abs=0.1)  # of noisy curves
    assert claim(probability=probability.flip(0)).verdict == "refutes"


def test_a_single_image_decides_nothing():
    t = np.linspace(-63, 63, 22)
    one = made("translation", t, np.abs(t), np.abs(t) / 100, 0.9, count=1)
    assert {claim.verdict for claim in invariance_claims({"translation": one}, "first", "last", 224)} == {"can't tell"}


def test_numbers_by_hand():
    assert fit_of_a_line(np.array([0.0, 1, 2, 3]), np.array([1.0, 3, 5, 7])) == pytest.approx(1)
    # Of 0, 0, 1: slope 1/2, residuals 1/6, -1/3, 1/6, sum 1/6; about the mean 2/3.
    assert fit_of_a_line(np.array([0.0, 1, 2]), np.array([0.0, 0, 1])) == pytest.approx(1 - (1 / 6) / (2 / 3))
    assert np.isnan(fit_of_a_line(np.array([0.0, 1]), np.array([2.0, 2.0])))
    assert displacement("translation", np.array([-6.0, 6.0]), 224).tolist() == [6, 6]
    assert displacement("scale", np.array([1.0, 1.5]), 222).tolist() == [0, 37]
    assert displacement("rotation", np.array([180.0]), 222) == pytest.approx([148])
    one = made("translation", [-4, -2, 0, 2, 4], [1] * 5, [1] * 5, [0.5, 0.7, 0.9, 0.7, 0.5], count=1)
    # |change| 0, .2, .4 at 0, 2, 4 px: at 1 and 3 px in between .1 and .3.
    assert change_of_output(one, 224, np.array([1.0, 3.0])) == pytest.approx([0.2], abs=1e-9)
    assert flips(made("scale", [1, 2], [0, 0], [0, 0], [0.9, 0.1], count=1)) == 50
    assert small_amount(made("scale", [1, 1.04, 1.5], [0] * 3, [0] * 3, [1] * 3), 224) == 1


def test_displacement_is_that_of_points_of_a_disc():
    rng = np.random.default_rng(0)
    angle, radius = rng.uniform(0, 2 * np.pi, 200_000), 112 * np.sqrt(rng.uniform(0, 1, 200_000))
    points = np.stack([radius * np.cos(angle), radius * np.sin(angle)])
    turn = np.deg2rad(40)
    turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ points
    mean = np.linalg.norm(turned - points, axis=0).mean()
    assert displacement("rotation", np.array([40.0]), 224)[0] == pytest.approx(mean, rel=0.01)
    mean = np.linalg.norm(0.3 * points, axis=0).mean()
    assert displacement("scale", np.array([1.3]), 224)[0] == pytest.approx(mean, rel=0.01)


def test_it_is_a_verb_of_the_library():
    assert convlens.invariance is invariance
