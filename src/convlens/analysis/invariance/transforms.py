"""Transformations of images: translation, scale and rotation, with the paper's ranges (section 4.1 and Fig 5)."""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from convlens.errors import InputError
from convlens.ops.input_checks import LARGEST, check_choice, check_count, check_images, check_numbers, shown

TransformKind = Literal["translation", "scale", "rotation"]
Border = Literal["black", "reflect", "source"]
KINDS: tuple[TransformKind, ...] = get_args(TransformKind)
IDENTITY = {"translation": 0.0, "scale": 1.0, "rotation": 0.0}
"""The value of each kind that leaves the image as it is."""
SMALL = {"translation": 4 / 224, "scale": 1.05, "rotation": 5.0}
"""The value of each kind that counts as small: a share of the image's side, a factor, degrees."""
MAX_TRANSLATION = 63 / 224
"""The paper's largest translation as a share of the image's side."""


def transform_values(kind: str, side: int, steps: int) -> Float[np.ndarray, " values"]:
    """Return the paper's values of a transformation, equally spaced, and a small one.

    Translations are in pixels downwards, up to 28 % of the side either way, rounded to whole pixels without
    duplicates; scales are factors from 1 to 2; rotations are degrees from 0 to 360 and include all quarter turns.

    Args:
        kind: ``translation``, ``scale`` or ``rotation``.
        side: side of the image in pixels.
        steps: number of equally spaced values, up to rounding; at least 3.

    Raises:
        InputError: the kind is unknown, or there are fewer than three steps.
    """
    check_choice("kind", kind, KINDS)
    check_count("steps", steps, 3)
    if kind == "translation":
        largest = round(MAX_TRANSLATION * side)
        small = max(1, round(SMALL["translation"] * side))
        return np.unique(np.round([*np.linspace(-largest, largest, steps | 1), small])).astype(np.float64)
    if kind == "scale":
        return np.unique([*np.linspace(1, 2, steps), SMALL["scale"]])
    # Quarter turns show an object's rotational symmetry (claim 13).
    return np.unique([*np.linspace(0, 360, 4 * max(1, round((steps - 1) / 4)) + 1), SMALL["rotation"]])


def transform(
    image: Float[Tensor, "c h w"],
    kind: str,
    values: Sequence[float] | Float[np.ndarray, " n"],
    *,
    border: Border = "black",
    black: Float[Tensor, "c h2 w2"] | float = 0.0,
    size: int | None = None,
) -> Float[Tensor, "n c h2 w2"]:
    """Transform an image by each of several values.

    Translations are by whole pixels and exact; scaling and rotation are about the center, with bilinear interpolation.

    Args:
        image: the image, or a larger source image if ``border="source"``.
        kind: ``translation`` (pixels downwards), ``scale`` (factor) or ``rotation`` (degrees counterclockwise).
        values: value of each transformation.
        border: content of pixels from outside the image: ``black``, the mirror image (``reflect``), or the content of
            the larger image around its center crop (``source``), and black beyond its edge.
        black: value of black pixels, a number or an image; as network input it is the value of pixel 0.
        size: side of the returned images, which are center crops, in pixels; None is the shorter side of the image.

    Raises:
        InputError: the kind or the border is unknown, the image is smaller than ``size``, or a factor is not positive.
    """
    check_images(image, "image", axes=(3,))
    check_choice("border", border, get_args(Border))
    check_choice("kind", kind, KINDS)
    numbers = check_numbers("values", values, largest=LARGEST)
    height, width = image.shape[1:]
    size = min(height, width) if size is None else check_count("size", size)
    if size > min(height, width):
        raise InputError(f"size {size} is larger than the image of {height} x {width} px")
    background = _background(black, image, size)
    if kind == "translation":
        return torch.stack([_translate(image, int(value), size, border, background) for value in numbers])
    grid = torch.stack([_sampling_grid(kind, value, image, size) for value in numbers])
    mode = "reflection" if border == "reflect" else "zeros"
    images = image.expand(len(grid), *image.shape)
    sampled = F.grid_sample(images, grid, mode="bilinear", padding_mode=mode, align_corners=False)
    if border == "reflect":
        return sampled
    inside = F.grid_sample(torch.ones_like(images[:, :1]), grid, mode="bilinear", align_corners=False)
    return sampled + (1 - inside) * background


def _background(black: object, image: Float[Tensor, "c h w"], size: int) -> Float[Tensor, "c size size"]:
    """Return the black image, checked."""
    shape = (image.shape[0], size, size)
    try:
        background = torch.as_tensor(black, dtype=image.dtype, device=image.device).expand(shape)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise InputError(f"black={shown(black)}: give a number or an image {list(shape)}") from None
    return check_images(background, "black", axes=(3,))


def _translate(
    image: Float[Tensor, "c h w"], down: int, size: int, border: Border, background: Float[Tensor, "c size size"]
) -> Float[Tensor, "c size size"]:
    """Return the center crop of the image moved ``down`` pixels."""
    height, width = image.shape[1:]
    top, left = (height - size) // 2, (width - size) // 2
    rows = torch.arange(size, device=image.device) + top - down
    if border == "reflect":
        rows = rows % (2 * height)
        rows = torch.where(rows < height, rows, 2 * height - 1 - rows)
    inside = (rows >= 0) & (rows < height)
    moved = image[:, rows.clamp(0, height - 1), left : left + size]
    return torch.where(inside[None, :, None], moved, background)


def _sampling_grid(kind: str, value: float, image: Float[Tensor, "c h w"], size: int) -> Float[Tensor, "size size 2"]:
    """Return the position in the image of each pixel of the result, (x, y) in the units of ``grid_sample``."""
    height, width = image.shape[1:]
    offsets = torch.arange(size, device=image.device, dtype=image.dtype) - (size - 1) / 2
    y, x = torch.meshgrid(offsets, offsets, indexing="ij")
    if kind == "scale":
        if value <= 0:
            raise InputError(f"scale {value}: give a factor above 0")
        y, x = y / value, x / value
    else:
        angle = np.deg2rad(value)
        cos, sin = float(np.cos(angle)), float(np.sin(angle))
        y, x = cos * y + sin * x, cos * x - sin * y
    return torch.stack([2 * x / width, 2 * y / height], -1)
