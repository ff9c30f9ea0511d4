"""Conversion of signed values to grey levels, and layout of equal tiles in a grid."""

import math
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from convlens.errors import InputError

MAX_VALUES = 10_000_000
MID_GREY = 128
"""The grey level of the value 0, and of everything outside the image."""


def signed_to_uint8(values: Float[np.ndarray, "*shape"], gain: float) -> UInt8[np.ndarray, "*shape"]:
    """Return the grey levels ``128 + gain * value``, rounded and clipped to 0..255 (Fig 2 of the paper).

    Args:
        values: signed values; zero becomes mid-grey.
        gain: grey levels per unit.

    Raises:
        InputError: a value is NaN or infinite.
    """
    if not np.isfinite(values).all():
        raise InputError("cannot draw values that are NaN or infinite: has the network diverged?")
    return np.clip(np.rint(MID_GREY + np.float32(gain) * values.astype(np.float32)), 0, 255).astype(np.uint8)


def panel_gain(values: Float[np.ndarray, "*shape"], percentile: int | float = 99.5) -> float:
    """Return the gain that maps a percentile of the magnitudes to black or white; larger magnitudes saturate.

    One gain for all tiles of a layer keeps weak maps faint and clips strong ones, as in Fig 2 of the paper. The gain
    of an array of zeros is 1.

    Raises:
        InputError: ``percentile`` is not in (0, 100].
    """
    if not 0 < percentile <= 100:
        raise InputError(f"percentile is {percentile}: give a number above 0 and up to 100")
    magnitudes = np.abs(values, dtype=np.promote_types(values.dtype, np.float32)).ravel()
    largest = float(magnitudes.max(initial=0.0))
    # reorder the copy in place: panels are large
    limit = float(np.percentile(magnitudes, percentile, overwrite_input=True)) if magnitudes.size else 0.0
    if limit == 0.0:  # the percentile is one of many zeros
        limit = largest
    # below float32's smallest normal number the gain would overflow
    return (255 - MID_GREY) / limit if limit > np.finfo(np.float32).tiny else 1.0


@runtime_checkable
class MapArrays(Protocol):
    """A sequence of arrays, one for each map, in memory or on disk."""

    def __len__(self) -> int:
        """Return the number of maps."""
        ...

    def __getitem__(self, index: int, /) -> np.ndarray:
        """Return the array of one map."""
        ...


def common_gain(maps: MapArrays, shown: Bool[np.ndarray, "maps k"], percentile: int | float = 99.5) -> float:
    """Return the `panel_gain` of the shown tiles of all maps, read one map at a time.

    Args:
        maps: tiles of each map, [k, channels, height, width].
        shown: which tiles count.
        percentile: percentage of the magnitudes below saturation; estimated from a subset of the values if many.
    """
    values = int(shown.sum()) * math.prod(maps[0].shape[1:])
    step = max(1, values // MAX_VALUES)
    read = [maps[index][tiles].ravel()[::step] for index, tiles in enumerate(shown) if tiles.any()]
    return panel_gain(np.concatenate(read) if read else np.zeros(0, np.float32), percentile)


def saturation(gain: float) -> float:
    """Return the magnitude that a gain maps to white."""
    return (255 - MID_GREY) / gain


def to_rgb(
    images: UInt8[np.ndarray, "*n channels height width"],
) -> UInt8[np.ndarray, "*n height width 3"]:
    """Move the channels last; replace any number of channels other than three by their grey mean."""
    if images.shape[-3] != 3:
        grey = np.rint(images.mean(axis=-3, keepdims=True)).astype(np.uint8)
        images = np.repeat(grey, 3, axis=-3)
    return np.moveaxis(images, -3, -1)


def fitted(size: tuple[int, int], box: int) -> tuple[int, int]:
    """Return the size at which a tile is shown in a box: the largest whole multiple that fits, or shrunk to fit."""
    longest = max(size)
    if longest <= box:
        return size[0] * (box // longest), size[1] * (box // longest)
    return max(1, round(size[0] * box / longest)), max(1, round(size[1] * box / longest))


def resize(
    tiles: UInt8[np.ndarray, "n height width 3"], size: tuple[int, int]
) -> UInt8[np.ndarray, "n new_height new_width 3"]:
    """Resize tiles: by repeating pixels if the new size is a whole multiple, by Lanczos filtering otherwise."""
    height, width = tiles.shape[1:3]
    if size[0] % height == 0 and size[1] % width == 0:
        return tiles.repeat(size[0] // height, axis=1).repeat(size[1] // width, axis=2)
    shrunk = [Image.fromarray(tile).resize((size[1], size[0]), Image.Resampling.LANCZOS) for tile in tiles]
    return np.stack([np.asarray(image) for image in shrunk]) if shrunk else np.empty((0, *size, 3), np.uint8)


def tile(
    tiles: UInt8[np.ndarray, "n height width 3"], columns: int, gap: int = 2, background: int = 255
) -> UInt8[np.ndarray, "sheet_height sheet_width 3"]:
    """Lay out equal tiles in reading order.

    Args:
        tiles: pictures of equal size.
        columns: number of tiles in a row.
        gap: distance of neighboring tiles in pixels.
        background: grey level of gaps and of unused cells.

    Raises:
        InputError: ``tiles`` is empty, or ``columns`` is less than 1.
    """
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
