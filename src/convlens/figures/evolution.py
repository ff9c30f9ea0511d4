"""Feature evolution sheet (Fig 4): projections of each map's strongest activation at several epochs."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image, ImageDraw

from convlens.errors import InputError
from convlens.figures.image_grid import fitted, panel_gain, resize, saturation, signed_to_uint8, to_rgb
from convlens.figures.text import ACCENT, INK, SOFT_INK, font, letter_size, number, titled

MIN_WIDTH, TARGET_WIDTH = 600, 860
SMALLEST_TILE, LARGEST_TILE = 40, 108
GAP, BLOCK_GAP = 6, 30
MARK = 4


def evolution_sheet(
    projections: Mapping[str, Float[np.ndarray, "_ epochs channels _ _"]],
    epochs: Sequence[int],
    changed: Mapping[str, Bool[np.ndarray, "_ epochs"]],
    *,
    maps: Mapping[str, Sequence[int | str]] | None = None,
    title: str = "Evolution during training",
    percentile: int | float = 98,
) -> Image.Image:
    """Draw a block for each layer with a row for each map and a column for each epoch (Fig 4 of the paper).

    Contrast is enhanced with one gain for each layer; more values saturate than in `top9_sheet`. A bar above a tile
    marks a change of the strongest image since the previous column, which the paper gives as the cause of jumps.

    Args:
        projections: for each layer, the projection of the strongest activation of each map at each epoch.
        epochs: the epochs (1-based) of the columns.
        changed: for each layer, whether the strongest image differs from that of the previous column.
        maps: for each layer, the indices or names of its maps; 0, 1, 2, ... by default.
        title: title of the sheet.
        percentile: percentage of the magnitudes below saturation (see `panel_gain`).

    Raises:
        InputError: the layers or the numbers of maps and epochs differ.
    """
    names = {layer: [str(name) for name in (maps or {}).get(layer, range(len(p)))] for layer, p in projections.items()}
    _check(projections, epochs, changed, names, title)
    box = _tile_box(len(epochs))
    blocks = []
    for layer, tiles in projections.items():
        gain = panel_gain(tiles, percentile)
        heading = f"{layer}  ±{number(saturation(gain))}"
        blocks.append(_block(heading, signed_to_uint8(tiles, gain), epochs, changed[layer], names[layer], box))
    note = (
        "Rows: maps. Columns: epochs. Mid-grey is 0; contrast is enhanced, with one gain per layer: black and white "
        "are the ± value next to its name, or beyond. Orange bar: another strongest image than in the previous column."
    )
    return titled(_flow(blocks), title, note)


def _check(
    projections: Mapping[str, Float[np.ndarray, "_ epochs channels _ _"]],
    epochs: Sequence[int],
    changed: Mapping[str, Bool[np.ndarray, "_ epochs"]],
    names: Mapping[str, Sequence[str]],
    title: str,
) -> None:
    if not projections or not epochs:
        raise InputError(f"{title}: nothing to draw; give at least one layer and one epoch")
    for layer, tiles in projections.items():
        shape = (len(names[layer]), len(epochs))
        if layer not in changed or changed[layer].shape != shape or tiles.shape[:2] != shape or shape[0] == 0:
            found = changed[layer].shape if layer in changed else "none"
            raise InputError(
                f"{title}, {layer}: projections of {tiles.shape[0]} maps x {tiles.shape[1]} epochs, changed {found}, "
                f"{shape[0]} names and {shape[1]} epochs must agree"
            )


def _tile_box(columns: int) -> int:
    """Return the side in pixels of the square that a tile is fitted into."""
    return int(np.clip(TARGET_WIDTH // columns - GAP, SMALLEST_TILE, LARGEST_TILE))


def _block(
    heading: str,
    tiles: np.ndarray,
    epochs: Sequence[int],
    changed: Bool[np.ndarray, "maps epochs"],
    names: Sequence[str],
    box: int,
) -> Image.Image:
    size = fitted((tiles.shape[-2], tiles.shape[-1]), box)
    letters = font(letter_size(TARGET_WIDTH))
    bold = font(letters.size, bold=True)
    line = round(1.5 * letters.size)
    indent = round(max(letters.getlength(name) for name in names)) + 10
    step_x, step_y = box + GAP, size[0] + MARK + GAP
    width = max(indent + len(epochs) * step_x - GAP, round(bold.getlength(heading)))
    block = Image.new("RGB", (width, 2 * line + len(names) * step_y), "white")
    draw = ImageDraw.Draw(block)
    draw.text((0, 0), heading, font=bold, fill=INK)
    for column, epoch in enumerate(epochs):
        x = indent + column * step_x + box / 2
        draw.text((x, line), str(epoch), font=letters, fill=SOFT_INK, anchor="ma")
    for row, name in enumerate(names):
        y = 2 * line + row * step_y + MARK + 1
        draw.text((indent - 8, y + size[0] / 2), name, font=letters, fill=SOFT_INK, anchor="rm")
        for column, picture in enumerate(resize(to_rgb(tiles[row]), size)):
            x = indent + column * step_x + (box - size[1]) // 2
            block.paste(Image.fromarray(picture), (x, y))
            if changed[row, column]:
                draw.rectangle((x, y - MARK - 1, x + size[1] - 1, y - 2), fill=ACCENT)
    return block


def _flow(blocks: Sequence[Image.Image]) -> Image.Image:
    """Arrange blocks in as many columns as come near the target width."""
    width = max(block.width for block in blocks) + BLOCK_GAP
    columns = int(np.clip(round((TARGET_WIDTH + BLOCK_GAP) / width), 1, len(blocks)))
    rows = [blocks[first : first + columns] for first in range(0, len(blocks), columns)]
    heights = [max(block.height for block in row) for row in rows]
    total = (max(MIN_WIDTH, columns * width - BLOCK_GAP), sum(heights) + BLOCK_GAP * (len(rows) - 1))
    sheet = Image.new("RGB", total, "white")
    y = 0
    for row, height in zip(rows, heights, strict=True):
        for column, block in enumerate(row):
            sheet.paste(block, (column * width, y))
        y += height + BLOCK_GAP
    return sheet
