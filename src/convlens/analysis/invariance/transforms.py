"""Images moved, enlarged and turned (paper, section 4.1 and Fig 5)."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from convlens.errors import InputError

Border = Literal["black", "reflect", "source"]
KINDS = ("translation", "scale", "rotation")
SMALL = {"translation": 4 / 224, "scale": 1.05, "rotation": 5.0}
"""Small amounts: pixels as a share of the side, a factor, degrees."""
TRANSLATION = 63 / 224
"""The paper's largest translation, as a share of the side."""


def amounts(kind: str, side: int, steps: int) -> Float[np.ndarray, " steps"]:
    """The paper's amounts: pixels down (up to 28 % of the side, either way), factors of 1 to 2, degrees of 0 to 360.

    Translations are whole pixels, each once, so that there may be fewer. A small amount is always among them.

    Raises:
        InputError: unknown kind, or fewer than three steps.
    """
    if steps < 3:
        raise InputError(f"{steps} steps: give at least 3")
    if kind == "translation":
        reach = round(TRANSLATION * side)
        small = max(1, round(SMALL["translation"] * side))
        return np.unique(np.round([*np.linspace(-reach, reach, steps | 1), small])).astype(np.float64)
    if kind == "scale":
        return np.unique([*np.linspace(1, 2, steps), SMALL["scale"]])
    if kind == "rotation":
        # The quarter turns are among them, since an object's symmetry shows there.
        return np.unique([*np.linspace(0, 360, 4 * max(1, round((steps - 1) / 4)) + 1), SMALL["rotation"]])
    raise InputError(f"transformation {kind!r} is unknown: choose one of {', '.join(KINDS)}")


def transform(
    image: Float[Tensor, "c h w"],
    kind: str,
    values: Sequence[float] | Float[np.ndarray, " n"],
    *,
    border: Border = "black",
    black: Float[Tensor, "c h2 w2"] | float = 0.0,
    size: int | None = None,
) -> Float[Tensor, "n c h2 w2"]:
    """The image transformed by each of several amounts.

    A translation is by whole pixels and exact; the others interpolate bilinearly about the middle of the image.

    Args:
        image: as the network reads it, or a larger one with ``border="source"``.
        kind: ``translation`` (pixels down), ``scale`` (factor), ``rotation`` (degrees against the clock).
        values: by how much.
        border: what comes in from outside: ``black``, the mirror image (``reflect``), or the content of a larger image
            of which the network is given the middle (``source``), and black where that too ends.
        black: the black of the paper, as the network reads it: a number, or an image.
        size: side of the middle that the network is given; None is the whole image.

    Raises:
        InputError: unknown kind or border, or a source that is not larger.
    """
    if border not in ("black", "reflect", "source"):
        raise InputError(f"border {border!r} is unknown: choose black, reflect or source")
    height, width = image.shape[1:]
    size = min(height, width) if size is None else size
    if size > min(height, width):
        raise InputError(f"size {size} is more than the image's {height} x {width} px")
    top, left = (height - size) // 2, (width - size) // 2
    fill = torch.as_tensor(black, dtype=image.dtype, device=image.device)
    fill = fill.expand(image.shape[0], size, size)
    if kind == "translation":
        return torch.stack([_moved(image, int(value), top, left, size, border, fill) for value in values])
    if kind not in KINDS:
        raise InputError(f"transformation {kind!r} is unknown: choose one of {', '.join(KINDS)}")
    places = torch.stack([_places(kind, float(value), image, size) for value in values])
    mode = "reflection" if border == "reflect" else "zeros"
    pictures = image.expand(len(places), *image.shape)
    found = F.grid_sample(pictures, places, mode="bilinear", padding_mode=mode, align_corners=False)
    if border == "reflect":
        return found
    inside = F.grid_sample(torch.ones_like(pictures[:, :1]), places, mode="bilinear", align_corners=False)
    return found + (1 - inside) * fill


def _moved(
    image: Tensor, down: int, top: int, left: int, size: int, border: Border, fill: Tensor
) -> Float[Tensor, "c size size"]:
    """Rows ``top - down`` and on."""
    rows = torch.arange(size, device=image.device) + top - down
    height = image.shape[1]
    if border == "reflect":
        rows = rows % (2 * height)
        rows = torch.where(rows < height, rows, 2 * height - 1 - rows)
    inside = (rows >= 0) & (rows < height)
    found = image[:, rows.clamp(0, height - 1), left : left + size]
    return torch.where(inside[None, :, None], found, fill)


def _places(kind: str, value: float, image: Tensor, size: int) -> Float[Tensor, "size size 2"]:
    """Where each pixel of the result is in the image, in the units of ``grid_sample`` (x, then y)."""
    height, width = image.shape[1:]
    steps = torch.arange(size, device=image.device, dtype=image.dtype) - (size - 1) / 2
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    if kind == "scale":
        if value <= 0:
            raise InputError(f"scale {value}: give a factor above 0")
        y, x = y / value, x / value
    else:
        angle = np.deg2rad(value)
        cos, sin = float(np.cos(angle)), float(np.sin(angle))
        y, x = cos * y + sin * x, cos * x - sin * y
    return torch.stack([2 * x / width, 2 * y / height], -1)
