"""One image file as a square of RGB bytes: shorter side to the wanted size, then the centre (paper, Sec. 3).

Or, if asked for, the whole image, out of proportion.
"""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

# What is a part of every cache key.
RULE = "1: upright by EXIF, RGB on white, bicubic to the shorter side, centre"
SQUEEZED_RULE = "1: upright by EXIF, RGB on white, bicubic, both sides to the same size"
FITS = ("crop", "squeeze")


def rule_of(fit: str) -> str:
    """How the pixels of a square are made, for each way to fit an oblong image into it."""
    return {"crop": RULE, "squeeze": SQUEEZED_RULE}[fit]


class UnreadableImage(Exception):
    """The file is no image that can be decoded; the message is the reason, in one line."""


def read_square(path: Path, size: int, fit: str = "crop") -> UInt8[np.ndarray, "3 size size"]:
    """The image in a file as a square of `size` pixels; for `fit` see `square`.

    A JPEG much larger than needed is decoded at a half, a quarter or an eighth of its size (the decoder's own
    scaling), never below twice `size`, so that the bicubic step still has the last word.

    Raises:
        UnreadableImage: Whatever is wrong with the file.
    """
    try:
        with Image.open(path) as image:
            image.draft(None, (2 * size, 2 * size))
            ImageOps.exif_transpose(image, in_place=True)
            return square(image, size, fit)
    except UnidentifiedImageError:
        raise UnreadableImage("not an image" if path.stat().st_size else "empty file") from None
    except OSError as error:
        raise UnreadableImage(error.strerror or _one_line(error)) from error
    except Exception as error:  # Pillow's plug-ins raise nearly everything on a damaged file
        raise UnreadableImage(_one_line(error)) from error


def square(image: Image.Image, size: int, fit: str = "crop") -> UInt8[np.ndarray, "3 size size"]:
    """The shorter side at `size` pixels and the centre of the longer one; with `fit` squeeze both sides at `size`.

    The centre is cut out while resizing: pixels beside it take part in the interpolation, as if the whole image had
    been resized first. The cut lies on a whole pixel of the original, so that an image which has the right size
    already is not blurred by half a pixel.
    """
    image = _as_rgb(image)
    if fit == "squeeze":
        return _channels_first(image.resize((size, size), Image.Resampling.BICUBIC))
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    box = (left, top, left + side, top + side)
    return _channels_first(image.resize((size, size), Image.Resampling.BICUBIC, box=box))


def _channels_first(image: Image.Image) -> UInt8[np.ndarray, "3 size size"]:
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


def _as_rgb(image: Image.Image) -> Image.Image:
    """Three bytes a pixel: 16-bit grey is scaled (Pillow would clip it), what is transparent shows a white page."""
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image).clip(0, 65535) / 257).round().astype(np.uint8))
    if image.mode == "F":
        raise UnreadableImage("floating-point pixels, whose range is unknown")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
