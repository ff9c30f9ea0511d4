import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from convlens.data.decode import UnreadableImageError, read_square, square


def resize_then_crop(image: Image.Image, size: int) -> np.ndarray:
    """The slow, literal way: the whole image resized, then the centre taken."""
    scale = size / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return np.asarray(image.crop((left, top, left + size, top + size))).transpose(2, 0, 1)


@settings(deadline=None, max_examples=40)
@given(
    size=st.integers(1, 40),
    shrink=st.integers(1, 4),
    beside=st.integers(0, 15),
    tall=st.booleans(),
    seed=st.integers(0, 9),
)
def test_square_is_the_centre_of_the_resized_image(size, shrink, beside, tall, seed):
    # The longer side is such that the centre lies on a whole pixel before and after resizing.
    width, height = shrink * (size + 2 * beside), shrink * size
    shape = (width, height, 3) if tall else (height, width, 3)
    image = Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8))
    np.testing.assert_array_equal(square(image, size), resize_then_crop(image, size))


@settings(deadline=None, max_examples=40)
@given(width=st.integers(1, 60), height=st.integers(1, 60), size=st.integers(1, 30))
def test_square_of_any_shape(width, height, size):
    pixels = np.full((height, width, 3), (10, 20, 30), np.uint8)
    result = square(Image.fromarray(pixels), size)
    assert result.shape == (3, size, size)
    assert [np.unique(channel).tolist() for channel in result] == [[10], [20], [30]]


@pytest.mark.parametrize("width", [8, 10, 11])
def test_image_of_the_right_size_is_only_cut(noise, width):
    pixels = noise(0, width, 8)
    left = (width - 8) // 2
    np.testing.assert_array_equal(square(Image.fromarray(pixels), 8), pixels[:, left : left + 8].transpose(2, 0, 1))


def save(image: Image.Image, path: Path, **options) -> Path:
    image.save(path, **options)
    return path


def palette_image() -> Image.Image:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    return image


@pytest.mark.parametrize(
    ("image", "name", "options", "expected"),
    [
        (Image.new("L", (4, 4), 77), "grey.png", {}, (77, 77, 77)),
        (Image.new("1", (4, 4), 1), "bits.png", {}, (255, 255, 255)),
        (Image.new("I;16", (4, 4), 257 * 99), "grey16.png", {}, (99, 99, 99)),
        (Image.new("I;16", (4, 4), 257 * 99), "grey16.tif", {}, (99, 99, 99)),
        (palette_image(), "palette.png", {}, (200, 100, 50)),
        (palette_image(), "palette.gif", {}, (200, 100, 50)),
        (palette_image(), "see-through-palette.png", {"transparency": 1}, (255, 255, 255)),
        (Image.new("RGBA", (4, 4), (200, 100, 50, 255)), "opaque.png", {}, (200, 100, 50)),
        (Image.new("RGBA", (4, 4), (200, 100, 50, 0)), "see-through.png", {}, (255, 255, 255)),
        (Image.new("RGBA", (4, 4), (0, 100, 255, 51)), "fifth.png", {}, (204, 224, 255)),
        (Image.new("LA", (4, 4), (0, 51)), "grey-fifth.png", {}, (204, 204, 204)),
        (Image.new("CMYK", (4, 4), (55, 155, 0, 0)), "print.tif", {}, (200, 100, 255)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_kind_of_pixel_becomes_rgb(tmp_path, image, name, options, expected):
    result = read_square(save(image, tmp_path / name, **options), 4)
    assert result[:, 0, 0].tolist() == list(expected)
    assert (result == result[:, :1, :1]).all()


def test_cmyk_jpeg(tmp_path):
    path = save(Image.new("CMYK", (16, 16), (55, 155, 0, 0)), tmp_path / "print.jpg", quality=100)
    np.testing.assert_allclose(read_square(path, 8)[:, 4, 4], (200, 100, 255), atol=3)


def test_photograph_is_turned_upright(tmp_path, noise):
    pixels = noise(3, 6, 6)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: the right side of the picture is its top
    path = save(Image.fromarray(pixels), tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(read_square(path, 6), np.rot90(pixels, -1).transpose(2, 0, 1))


def test_scaled_jpeg_decoding_looks_like_full_decoding(tmp_path):
    y, x = np.mgrid[:512, :640]
    pixels = np.stack([127 + 100 * np.sin(x / 30), 127 + 100 * np.cos(y / 25), (x + y) % 256 / 2], -1).astype(np.uint8)
    path = save(Image.fromarray(pixels), tmp_path / "large.jpg", quality=95)
    with Image.open(path) as image:
        full = square(image, 64).astype(int)
    assert np.abs(read_square(path, 64) - full).mean() < 1.0


def jpeg_bytes(noise) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(noise(0, 64, 64)).save(buffer, "JPEG")
    return buffer.getvalue()


def test_unreadable_files_have_a_reason(tmp_path, noise):
    whole = jpeg_bytes(noise)
    contents = {
        "empty.jpg": b"",
        "text.jpg": b"no picture\n",
        "cut.jpg": whole[: len(whole) // 2],
        "head.jpg": whole[:9],
    }
    reasons = {}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UnreadableImageError) as caught:
            read_square(tmp_path / name, 8)
        reasons[name] = str(caught.value)
    assert reasons["empty.jpg"] == "empty file"
    assert reasons["text.jpg"] == "not an image"
    assert reasons["cut.jpg"].startswith("image file is truncated")
    assert all(reason and "\n" not in reason for reason in reasons.values())
    with pytest.raises(UnreadableImageError, match="No such file"):
        read_square(tmp_path / "gone.jpg", 8)
    with pytest.raises(UnreadableImageError, match="floating-point"):
        read_square(save(Image.new("F", (4, 4), 0.5), tmp_path / "float.tif"), 4)


def test_a_png_with_a_broken_checksum_is_unreadable(tmp_path, noise):
    path = save(Image.fromarray(noise(0, 32, 32)), tmp_path / "broken.png")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(UnreadableImageError):
        read_square(path, 8)


def test_a_squeezed_image_is_whole_and_out_of_proportion(tmp_path):
    # Twice as wide as high, the last quarter white: the crop shows columns 10 to 29 and so nothing of it.
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, 30:] = 255
    path = save(Image.fromarray(pixels), tmp_path / "wide.png")
    squeezed, cropped = read_square(path, 20, "squeeze"), read_square(path, 20)
    assert squeezed.shape == (3, 20, 20)
    assert (squeezed[:, :, 17:] > 250).all()
    assert (squeezed[:, :, :13] < 5).all()
    assert not cropped.any()
    np.testing.assert_array_equal(
        squeezed, np.asarray(Image.fromarray(pixels).resize((20, 20), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
    )


def test_a_square_image_is_the_same_either_way(tmp_path, noise):
    path = save(Image.fromarray(noise(0, 30, 30)), tmp_path / "square.png")
    np.testing.assert_array_equal(read_square(path, 16, "squeeze"), read_square(path, 16))
