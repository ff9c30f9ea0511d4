import numpy as np
import pytest
import torch
from PIL import Image

from convlens.analysis.invariance.transforms import transform, transform_values
from convlens.errors import InputError


def test_the_papers_values():
    down = transform_values("translation", 224, 61)
    assert (down.min(), down.max(), 0 in down, 4 in down) == (-63, 63, True, True)
    assert (transform_values("scale", 224, 11).min(), transform_values("scale", 224, 11).max()) == (1, 2)
    turns = transform_values("rotation", 224, 33)
    assert {0, 90, 180, 270, 360, 45} <= set(turns.tolist())
    with pytest.raises(InputError, match="kind='shear' is unknown: choose translation, scale, rot"):
        transform_values("shear", 224, 5)
    with pytest.raises(InputError, match="steps=2: give a whole number of at least 3"):
        transform_values("scale", 224, 2)


def test_translations_by_hand():
    image = torch.arange(9.0).view(1, 3, 3)
    black = transform(image, "translation", [0, 1, -1, 3], black=-5.0)
    assert black[0].equal(image)
    assert black[1, 0].tolist() == [[-5, -5, -5], [0, 1, 2], [3, 4, 5]]
    assert black[2, 0].tolist() == [[3, 4, 5], [6, 7, 8], [-5, -5, -5]]
    assert (black[3] == -5).all()
    assert transform(image, "translation", [1], border="reflect")[0, 0].tolist() == [[0, 1, 2], [0, 1, 2], [3, 4, 5]]
    assert transform(image, "translation", [-2], border="reflect")[0, 0].tolist() == [[6, 7, 8], [6, 7, 8], [3, 4, 5]]


def test_a_larger_source_fills_the_border():
    source = torch.rand(3, 20, 20)
    moved = transform(source, "translation", [0, 4, -3], border="source", size=10)
    assert moved[0].equal(source[:, 5:15, 5:15])
    assert moved[1].equal(source[:, 1:11, 5:15])
    assert moved[2].equal(source[:, 8:18, 5:15])
    torch.testing.assert_close(transform(source, "scale", [1.0], border="source", size=10)[0], source[:, 5:15, 5:15])
    half = transform(source, "scale", [0.5], border="source", size=10)
    torch.testing.assert_close(half[0].mean(), source.mean(), atol=0.05, rtol=0)


@pytest.mark.parametrize(("angle", "turns"), [(90, 1), (180, 2), (270, 3), (360, 0), (0, 0)])
def test_quarter_turns_are_exact_and_counterclockwise(angle, turns):
    image = torch.rand(2, 9, 9)
    torch.testing.assert_close(transform(image, "rotation", [angle])[0], image.rot90(turns, (1, 2)), atol=1e-5, rtol=0)


def test_rotation_is_pillows():
    pixels = (torch.rand(31, 31) * 255).round()
    pillow = Image.fromarray(pixels.numpy().astype(np.float32)).rotate(30, Image.Resampling.BILINEAR)
    ours = transform(pixels[None], "rotation", [30])[0, 0]
    inner = slice(8, -8)
    np.testing.assert_allclose(ours[inner, inner], np.asarray(pillow)[inner, inner], atol=0.6)
    assert ours[0, 0] == 0  # the corner comes from outside


def test_a_uniform_image_stays_uniform():
    image = torch.full((1, 16, 16), 7.0)
    for kind, value in (("rotation", 33.0), ("scale", 1.7)):
        found = transform(image, kind, [value], border="reflect")
        torch.testing.assert_close(found, torch.full_like(found, 7.0))
        blackened = transform(image, kind, [value], black=7.0)
        torch.testing.assert_close(blackened, torch.full_like(found, 7.0))


def test_scaling_enlarges_about_the_centre():
    image = torch.zeros(1, 17, 17)
    image[:, 6:11, 6:11] = 1
    found = transform(image, "scale", [2.0])[0]
    assert float(found.sum()) == pytest.approx(4 * 25, rel=0.05)
    assert float(found[0, 8, 8]) == 1


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("shear", {}, "kind='shear' is unknown"),
        ("scale", {"values": [0.0]}, "scale 0.0: give a factor above 0"),
        ("scale", {"size": 10}, "size 10 is larger than the image of 8 x 8 px"),
    ],
)
def test_invalid_transformations_are_refused(kind, options, message):
    with pytest.raises(InputError, match=message):
        transform(torch.zeros(1, 8, 8), kind, **{"values": [1.5], **options})
