"""Filters sheet (Fig 6 a-c): the filters of a layer as pictures."""

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image, ImageDraw

from convlens.errors import InputError
from convlens.figures.image_grid import fitted, panel_gain, resize, saturation, signed_to_uint8, tile, to_rgb
from convlens.figures.text import ACCENT, MINUS, SOFT_INK, TIMES, font, letter_size, number, titled

MIN_WIDTH, TARGET_WIDTH = 600, 760
GAP = 5


def filters_sheet(
    filters: Float[np.ndarray, "n channels height width"],
    columns: int = 11,
    per_filter: bool = False,
    *,
    title: str = "Filters",
    dead: Bool[np.ndarray, " n"] | None = None,
) -> Image.Image:
    """Draw filters in reading order, 11 in a row as in Fig 6 of the paper.

    All filters share one scale: zero is mid-grey and the largest magnitude is black or white, so that one dominating
    filter leaves the others grey. Filters without three channels are drawn as the grey mean over their channels. The
    numbers on the left count filters from 0.

    Args:
        filters: the weights.
        columns: number of filters in a row.
        per_filter: whether each filter has its own scale, which shows its structure but not its strength.
        title: title of the sheet.
        dead: filters to underline.

    Raises:
        InputError: ``filters`` is empty, or ``columns`` is less than 1.
    """
    count, channels = filters.shape[:2]
    if count == 0 or columns < 1:
        raise InputError(f"{title}: cannot draw {count} filters in {columns} columns: both must be at least 1")
    if channels != 3:
        filters = filters.mean(axis=1, keepdims=True)
    columns = min(columns, count)
    gain = panel_gain(filters, percentile=100)
    gains = [panel_gain(weights, percentile=100) if per_filter else gain for weights in filters]
    grey = np.stack([signed_to_uint8(weights, own) for weights, own in zip(filters, gains, strict=True)])
    size = fitted((filters.shape[2], filters.shape[3]), max(24, TARGET_WIDTH // columns - GAP))
    pictures = Image.fromarray(tile(resize(to_rgb(grey), size), columns, gap=GAP))
    # space for the marks below the last row
    grid = Image.new("RGB", (pictures.width, pictures.height + GAP), "white")
    grid.paste(pictures)
    if dead is not None:
        _underline(grid, dead, columns, size)
    return titled(_numbered(grid, count, columns, size), title, _note(filters, channels, gain, per_filter, dead))


def _underline(grid: Image.Image, dead: Bool[np.ndarray, " n"], columns: int, size: tuple[int, int]) -> None:
    draw = ImageDraw.Draw(grid)
    for index in np.flatnonzero(dead).tolist():
        x = index % columns * (size[1] + GAP)
        y = index // columns * (size[0] + GAP) + size[0]
        draw.rectangle((x, y + 1, x + size[1] - 1, y + GAP - 2), fill=ACCENT)


def _numbered(grid: Image.Image, count: int, columns: int, size: tuple[int, int]) -> Image.Image:
    """Add the index of the first filter to the left of each row, and pad to the minimum width."""
    letters = font(max(11, letter_size(grid.width) - 2))
    indent = round(letters.getlength(str(count))) + 10
    body = Image.new("RGB", (max(MIN_WIDTH, grid.width + indent), grid.height), "white")
    draw = ImageDraw.Draw(body)
    body.paste(grid, (indent, 0))
    for row, first in enumerate(range(0, count, columns)):
        middle = row * (size[0] + GAP) + size[0] / 2
        draw.text((indent - 8, middle), str(first), font=letters, fill=SOFT_INK, anchor="rm")
    return body


def _note(
    filters: Float[np.ndarray, "n shown_channels height width"],
    channels: int,
    gain: float,
    per_filter: bool,
    dead: Bool[np.ndarray, " n"] | None,
) -> str:
    count, _, height, width = filters.shape
    note = f"{count} filters of {width} {TIMES} {height} px, numbered from 0. Mid-grey is 0; black and white are "
    limit = number(saturation(gain))
    note += (
        "the largest magnitude of each filter." if per_filter else f"{MINUS}{limit} and +{limit}, one scale for all."
    )
    if channels != 3:
        note += f" Grey: the mean over {channels} channels."
    if dead is not None:
        note += f" Underlined: {int(dead.sum())} dead."
    return note
