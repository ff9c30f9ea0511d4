"""Top-9 sheet (Fig 2): projections of each map's strongest activations next to their image patches."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw, ImageOps

from convlens.errors import InputError
from convlens.figures.image_grid import MapArrays, common_gain, resize, saturation, signed_to_uint8, tile, to_rgb
from convlens.figures.text import (
    EDGE,
    EMPTY,
    INK,
    MINUS,
    SOFT_INK,
    TIMES,
    font,
    letter_size,
    number,
    shorten,
    titled,
)

MIN_WIDTH, TARGET_WIDTH, MAX_WIDTH = 600, 960, 1560
MAX_HEIGHT, SMALLEST_TILE = 16_000, 16
TILE = 64
GAP, BORDER, PAIR_GAP, MAP_GAP = 2, 1, 8, 28


@dataclass(frozen=True)
class _Layout:
    """Layout of the sheet: size of a tile, size of its 3 x 3 block, number of columns, font size."""

    tile: tuple[int, int]
    block: tuple[int, int]
    columns: int
    letters: int

    @property
    def label(self) -> int:
        return round(1.5 * self.letters)

    @property
    def pair_width(self) -> int:
        return 2 * self.block[1] + PAIR_GAP

    @property
    def row_height(self) -> int:
        return self.label + self.block[0] + MAP_GAP // 2

    @property
    def width(self) -> int:
        return self.columns * (self.pair_width + MAP_GAP) - MAP_GAP


def top9_sheet(
    projections: MapArrays,
    patches: MapArrays,
    *,
    values: Float[np.ndarray, "maps k"],
    maps: Sequence[int | str] | None = None,
    title: str = "Strongest activations",
    dead: Bool[np.ndarray, " maps"] | None = None,
    percentile: int | float = 99.5,
) -> Image.Image:
    """Draw for each map a block of projections next to a block of image patches (Fig 2 of the paper).

    All projections share one gain, which the sheet states. Tiles have the size of the receptive field; small ones are
    enlarged by a whole number. A tile whose activation is not above zero is left empty, and a map without any is
    labelled "dead". Maps are read one at a time, so that they may be on disk. If there are very many, tiles are shrunk
    until the sheet is at most 16,000 pixels high.

    Args:
        projections: [k, channels, height, width] for each map, signed, in the units of the network's input.
        patches: the same windows of the images, 0..255.
        values: the activations, strongest first.
        maps: index or name of each map; 0, 1, 2, ... by default.
        title: title of the sheet.
        dead: maps with no activation above zero; found from ``values`` by default.
        percentile: percentage of the magnitudes below saturation (see `panel_gain`).

    Raises:
        InputError: there is no map, or the number of names differs from that of maps.
    """
    count = len(projections)
    names = [str(name) for name in (range(count) if maps is None else maps)]
    if count == 0 or len(names) != count:
        raise InputError(f"{title}: {count} maps with {len(names)} names: give at least one map, and a name for each")
    shown = np.nan_to_num(values, nan=0.0) > 0
    if dead is not None:
        shown = shown & ~dead[:, None]
    k, _, *size = projections[0].shape
    gain = common_gain(projections, shown, percentile)
    layout = _lay_out(count, k, (size[0], size[1]))
    rows = math.ceil(count / layout.columns)
    body = Image.new("RGB", (layout.width, rows * layout.row_height - MAP_GAP // 2), "white")
    for index, name in enumerate(names):
        at = (index % layout.columns * (layout.pair_width + MAP_GAP), index // layout.columns * layout.row_height)
        blocks = [
            _block(signed_to_uint8(projections[index], gain), shown[index], layout),
            _block(patches[index], shown[index], layout),
        ]
        strongest = float(values[index].max(initial=-np.inf, where=shown[index]))
        _draw_map(body, at, layout, name, strongest, blocks)
    return titled(body, title, _note((size[0], size[1]), gain, bool(shown.any(axis=1).all())))


def _lay_out(count: int, k: int, size: tuple[int, int]) -> _Layout:
    """Choose columns and tile size so that the sheet is between MIN_WIDTH and MAX_WIDTH wide."""
    side = math.ceil(math.sqrt(k))
    longest = max(size)
    largest = ((MAX_WIDTH - PAIR_GAP) // 2 - 2 * BORDER + GAP) // side - GAP
    scale = max(1, round(TILE / longest)) if longest <= largest else largest / longest
    while True:
        shown = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
        block = (_span(math.ceil(k / side), shown[0]), _span(side, shown[1]))
        pair = 2 * block[1] + PAIR_GAP + MAP_GAP
        columns = max(1, min(count, round((TARGET_WIDTH + MAP_GAP) / pair), (MAX_WIDTH + MAP_GAP) // pair))
        layout = _Layout(shown, block, columns, letter_size(columns * pair - MAP_GAP))
        high = math.ceil(count / columns) * layout.row_height > MAX_HEIGHT
        if high and min(shown) > SMALLEST_TILE:
            scale *= 0.9
        elif layout.width >= MIN_WIDTH or scale < 1 or high:
            return layout
        else:
            scale += 1


def _span(tiles: int, pixels: int) -> int:
    """Return the length in pixels of a row of tiles with its gaps and border."""
    return tiles * (pixels + GAP) - GAP + 2 * BORDER


def _block(
    pictures: UInt8[np.ndarray, "k channels height width"], shown: Bool[np.ndarray, " k"], layout: _Layout
) -> Image.Image:
    tiles = resize(to_rgb(pictures), layout.tile)
    tiles[~shown] = EMPTY
    # an edge separates white patches from the background
    grid = Image.fromarray(tile(tiles, columns=math.ceil(math.sqrt(len(tiles))), gap=GAP, background=EDGE))
    return ImageOps.expand(grid, border=BORDER, fill=(EDGE, EDGE, EDGE))


def _draw_map(
    body: Image.Image, at: tuple[int, int], layout: _Layout, name: str, strongest: float, blocks: list[Image.Image]
) -> None:
    x, y = at
    draw = ImageDraw.Draw(body)
    letters = font(layout.letters)
    alive = strongest > 0
    label = f"map {name} · max {number(strongest)}" if alive else f"map {name} · dead"
    draw.text((x, y), shorten(label, letters, layout.pair_width), font=letters, fill=INK)
    top = y + layout.label
    if alive:
        body.paste(blocks[0], (x, top))
        body.paste(blocks[1], (x + layout.block[1] + PAIR_GAP, top))
        return
    draw.rectangle((x, top, x + layout.pair_width - 1, top + layout.block[0] - 1), fill=EMPTY)
    centre = (x + layout.pair_width / 2, top + layout.block[0] / 2)
    draw.text(centre, "dead", font=letters, fill=SOFT_INK, anchor="mm")


def _note(size: tuple[int, int], gain: float, all_alive: bool) -> str:
    limit = number(saturation(gain))
    note = (
        f"Receptive field {size[1]} {TIMES} {size[0]} px. Left: projections, mid-grey is 0, black and white are "
        f"{MINUS}{limit} and +{limit} or beyond (one gain for the whole sheet). "
        "Right: the image patches, grey beyond the border of the image."
    )
    return note if all_alive else f"{note} Dead: no activation above zero in any image."
