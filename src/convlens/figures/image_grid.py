"""Signed values to grey levels, and equal tiles laid out in a grid."""

import math
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from convlens.errors import InputError

MOST_VALUES = 10_000_000
MID_GREY = 128
"""The grey level of the value 0, and of everything outside the picture."""


def signed_to_uint8(values: Float[np.ndarray, "*shape"], gain: float) -> UInt8[np.ndarray, "*shape"]:
    """Grey levels `128 + gain * value`, rounded and saturating at 0 and 255.

    The gain is in grey levels per unit. Zero is mid-grey whatever the gain (Fig 2 of the paper).

    Raises:
        InputError: a value is NaN or infinite; drawn as grey it would look like a dead filter.
    """
    if not np.isfinite(values).all():
        raise InputError("cannot draw values that are NaN or infinite: has the network diverged?")
    return np.clip(np.rint(MID_GREY + np.float32(gain) * values.astype(np.float32)), 0, 255).astype(np.uint8)


def panel_gain(values: Float[np.ndarray, "*shape"], percentile: int | float = 99.5) -> float:
    """The one gain of a panel: the percentile of the magnitudes reaches black or white, what lies above saturates.

    One gain for all tiles of a layer keeps weak maps faint and lets strong ones clip, as in Fig 2 of the paper.
    A panel of zeros has gain 1.
    """
    if not 0 < percentile <= 100:
        raise InputError(f"percentile is {percentile}: give a number above 0 and up to 100")
    magnitudes = np.abs(values, dtype=np.promote_types(values.dtype, np.float32)).ravel()
    largest = float(magnitudes.max(initial=0.0))
    # our own copy may be reordered: the panels are large
    limit = float(np.percentile(magnitudes, percentile, overwrite_input=True)) if magnitudes.size else 0.0
    if limit == 0.0:  # so sparse that the percentile falls on the zeros
        limit = largest
    # below float32's smallest normal number the gain would overflow, and nothing is visible anyway
    return (255 - MID_GREY) / limit if limit > np.finfo(np.float32).tiny else 1.0


@runtime_checkable
class ByMap(Protocol):
    """Arrays of one map at a time, in memory or on disk."""

    def __len__(self) -> int:
        """Number of maps."""
        ...

    def __getitem__(self, index: int, /) -> Any:
        """The array of a map."""
        ...


def common_gain(maps: ByMap, shown: Bool[np.ndarray, "maps k"], percentile: int | float = 99.5) -> float:
    """The ``panel_gain`` of those tiles of all maps that are shown, read map by map; of every n-th value if many."""
    values = int(shown.sum()) * math.prod(maps[0].shape[1:])
    step = max(1, values // MOST_VALUES)
    read = [maps[index][tiles].ravel()[::step] for index, tiles in enumerate(shown) if tiles.any()]
    return panel_gain(np.concatenate(read) if read else np.zeros(0, np.float32), percentile)


def saturation(gain: float) -> float:
    """The magnitude that a gain draws as white; its negative is drawn as (nearly) black."""
    return (255 - MID_GREY) / gain


def to_rgb(
    images: UInt8[np.ndarray, "*n channels height width"],
) -> UInt8[np.ndarray, "*n height width 3"]:
    """Channels last, three of them; any other number of channels becomes their grey mean."""
    if images.shape[-3] != 3:
        grey = np.rint(images.mean(axis=-3, keepdims=True)).astype(np.uint8)
        images = np.repeat(grey, 3, axis=-3)
    return np.moveaxis(images, -3, -1)


def fitted(size: tuple[int, int], box: int) -> tuple[int, int]:
    """The size at which a tile is shown in a box: the largest whole multiple that fits, or shrunk to fit."""
    longest = max(size)
    if longest <= box:
        return size[0] * (box // longest), size[1] * (box // longest)
    return max(1, round(size[0] * box / longest)), max(1, round(size[1] * box / longest))


def resize(
    tiles: UInt8[np.ndarray, "n height width 3"], size: tuple[int, int]
) -> UInt8[np.ndarray, "n new_height new_width 3"]:
    """Tiles at a new size: whole multiples repeat pixels, so that each stays a sharp square; the rest is Lanczos."""
    height, width = tiles.shape[1:3]
    if size[0] % height == 0 and size[1] % width == 0:
        return tiles.repeat(size[0] // height, axis=1).repeat(size[1] // width, axis=2)
    shrunk = [Image.fromarray(tile).resize((size[1], size[0]), Image.Resampling.LANCZOS) for tile in tiles]
    return np.stack([np.asarray(image) for image in shrunk]) if shrunk else np.empty((0, *size, 3), np.uint8)


def tile(
    tiles: UInt8[np.ndarray, "n height width 3"], columns: int, gap: int = 2, background: int = 255
) -> UInt8[np.ndarray, "sheet_height sheet_width 3"]:
    """Equal tiles in reading order, `gap` pixels apart; places left over show the background."""
    count, height, width = tiles.shape[:3]
    if count == 0 or columns < 1:
        raise InputError(f"cannot lay out {count} tiles in {columns} columns: both must be at least 1")
    rows = math.ceil(count / columns)
    shape = (rows * (height + gap) - gap, columns * (width + gap) - gap, 3)
    sheet = np.full(shape, background, dtype=np.uint8)
    for index, picture in enumerate(tiles):
        y, x = (index // columns) * (height + gap), (index % columns) * (width + gap)
        sheet[y : y + height, x : x + width] = picture
    return sheet
