"""Decoding of an image file to a square of RGB bytes: shorter side scaled to the size, then the centre (Sec. 3).

With resize mode ``squeeze``, the whole image is scaled to the square, without keeping its proportions.
"""

from pathlib import Path
from typing import Literal, get_args

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from convlens.io.resources import is_shortage

# These texts are part of every cache key: change one when its pixels change.
CROP_VERSION = "1: upright by EXIF, RGB on white, bicubic to the shorter side, centre"
SQUEEZE_VERSION = "1: upright by EXIF, RGB on white, bicubic, both sides to the same size"
ResizeMode = Literal["crop", "squeeze"]
RESIZE_MODES: tuple[ResizeMode, ...] = get_args(ResizeMode)


def decode_version(resize_mode: ResizeMode) -> str:
    """Return the version of the decoding rules, which is part of every cache key."""
    return {"crop": CROP_VERSION, "squeeze": SQUEEZE_VERSION}[resize_mode]


class UnreadableImageError(Exception):
    """A file cannot be decoded as an image; the message gives the reason in one line."""


def read_square(path: Path, size: int, resize_mode: ResizeMode = "crop") -> UInt8[np.ndarray, "3 size size"]:
    """Decode a file to a square of ``size`` pixels; see ``square`` for the resize modes.

    A JPEG much larger than needed is decoded at a half, a quarter or an eighth of its size (the decoder's own scaling),
    never below twice ``size``, so that the bicubic step determines the result.

    Raises:
        UnreadableImageError: the file cannot be decoded, for any reason.
        OSError, MemoryError: too many files are open, or there is too little memory; the file may be whole.
    """
    try:
        if not path.is_file() and path.exists():  # a pipe would be waited for, a device never ends
            raise UnreadableImageError("a folder" if path.is_dir() else "no regular file")
        with Image.open(path) as image:
            image.draft(None, (2 * size, 2 * size))
            ImageOps.exif_transpose(image, in_place=True)
            return square(image, size, resize_mode)
    except UnreadableImageError:
        raise
    except UnidentifiedImageError:
        raise UnreadableImageError("not an image" if path.stat().st_size else "empty file") from None
    except Exception as error:  # Pillow's plug-ins raise many kinds of errors for damaged files
        if is_shortage(error):  # the image is not to blame
            raise
        raise UnreadableImageError(getattr(error, "strerror", None) or _one_line(error)) from error


def square(image: Image.Image, size: int, resize_mode: ResizeMode = "crop") -> UInt8[np.ndarray, "3 size size"]:
    """Scale the shorter side to ``size`` and cut the centre; with ``squeeze`` scale both sides to ``size``.

    The centre is cut while resizing: pixels outside of it take part in the interpolation, as if the whole image had
    been resized first. The cut lies on a whole pixel of the original, so that an image of the right size is not
    blurred.
    """
    image = _as_rgb(image)
    if resize_mode == "squeeze":
        return _channels_first(image.resize((size, size), Image.Resampling.BICUBIC))
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    box = (left, top, left + side, top + side)
    return _channels_first(image.resize((size, size), Image.Resampling.BICUBIC, box=box))


def _channels_first(image: Image.Image) -> UInt8[np.ndarray, "3 size size"]:
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


def _as_rgb(image: Image.Image) -> Image.Image:
    """Convert to three bytes a pixel: 16-bit grey is scaled (Pillow would clip it), transparency shows a white
    background.
    """
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image).clip(0, 65535) / 257).round().astype(np.uint8))
    if image.mode == "F":
        raise UnreadableImageError("floating-point pixels, whose range is unknown")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
