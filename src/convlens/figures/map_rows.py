"""Sheet of maps, each with rows of tiles: the same activations drawn in several ways."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from convlens.errors import InputError
from convlens.figures.text import EDGE, INK, SOFT_INK, font, letter_size, shorten, titled

GAP, MAP_GAP = 4, 26
TILE = 92
Tiles = UInt8[np.ndarray, "_ _ _ 3"]


def rows_sheet(
    rows: Mapping[str, Sequence[Tiles]],
    headings: Sequence[str],
    *,
    captions: Sequence[Sequence[str]] | None = None,
    title: str,
    note: str,
) -> Image.Image:
    """Draw a block for each map: its heading, its rows of tiles, and captions below the columns.

    Args:
        rows: name of a row to the tiles of each map, strongest activation first; tile sizes may differ between rows.
        headings: one for each map.
        captions: for each map, the text below each column, with line breaks.
        title: title of the sheet.
        note: how to read the sheet.

    Raises:
        InputError: there is no map, or the number of headings differs from that of maps.
    """
    counts = {len(maps) for maps in rows.values()}
    if counts != {len(headings)} or not headings:
        raise InputError(
            f"{title}: {sorted(counts)} maps with {len(headings)} headings: give one for each, at least one"
        )
    columns = max(len(tiles) for maps in rows.values() for tiles in maps)
    # the font size follows from the width, the margin from the widest name
    letters = font(letter_size(columns * (TILE + GAP) + 120))
    margin = max(round(letters.getlength(name)) for name in rows) + 12
    lines = max((text.count("\n") + 1 for texts in captions or () for text in texts), default=0)
    pitch = round(1.35 * letters.size)
    height = pitch + GAP + len(rows) * (TILE + GAP) + lines * pitch + MAP_GAP
    body = Image.new("RGB", (margin + columns * (TILE + GAP) - GAP, len(headings) * height - MAP_GAP), "white")
    draw = ImageDraw.Draw(body)
    for index, heading in enumerate(headings):
        top = index * height
        draw.text((0, top), shorten(heading, letters, body.width), font=letters, fill=INK)
        top += pitch + GAP
        for name, maps in rows.items():
            draw.text((0, top + TILE / 2), name, font=letters, fill=SOFT_INK, anchor="lm")
            for column, tile in enumerate(maps[index]):
                _paste(body, tile, (margin + column * (TILE + GAP), top))
            top += TILE + GAP
        for column, text in enumerate(captions[index] if captions else ()):
            for line, part in enumerate(text.split("\n")):
                place = (margin + column * (TILE + GAP), top + line * pitch)
                draw.text(place, shorten(part, letters, TILE), font=letters, fill=SOFT_INK)
    return titled(body, title, note)


def draw_box(image: UInt8[np.ndarray, "h w 3"], box: Sequence[int], color: tuple[int, int, int]) -> Image.Image:
    """Draw a frame around the window (top, left, bottom, right) of an image, clipped to the image."""
    picture = Image.fromarray(image)
    height, width = image.shape[:2]
    top, left, bottom, right = (
        min(max(edge, 0), limit - 1)
        for edge, limit in zip((box[0], box[1], box[2] - 1, box[3] - 1), (height, width) * 2, strict=True)
    )
    ImageDraw.Draw(picture).rectangle((left, top, right, bottom), outline=color, width=max(1, height // 64))
    return picture


def _paste(body: Image.Image, tile: UInt8[np.ndarray, "h w 3"], at: tuple[int, int]) -> None:
    height, width = tile.shape[:2]
    scale = TILE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    # enlarged pixels stay squares
    how = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.LANCZOS
    ImageDraw.Draw(body).rectangle((at[0] - 1, at[1] - 1, at[0] + size[0], at[1] + size[1]), outline=(EDGE,) * 3)
    body.paste(Image.fromarray(tile).resize(size, how), at)
