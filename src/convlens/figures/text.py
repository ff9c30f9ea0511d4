"""Text on sheets: font, wrapping, shortening, and a title above a sheet."""

import math
from functools import cache
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont

PAPER = (255, 255, 255)
INK = (17, 24, 39)
SOFT_INK = (75, 85, 99)
EMPTY = (236, 238, 241)
EDGE = 205
ACCENT = (230, 97, 0)
MARGIN = 20
TIMES, MINUS = "\N{MULTIPLICATION SIGN}", "\N{MINUS SIGN}"


@cache
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Return DejaVu Sans from matplotlib's files, which is the same on every machine."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", name)), size)


def wrap(text: str, letters: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Break text at spaces into lines of at most ``width`` pixels; a longer word has a line of its own."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and letters.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def shorten(text: str, letters: ImageFont.FreeTypeFont, width: int) -> str:
    """Cut text that is wider than ``width`` pixels, and end it with an ellipsis."""
    if letters.getlength(text) <= width:
        return text
    while text and letters.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text}…"


def shorten_text(text: str, length: int) -> str:
    """Cut text that has more than ``length`` characters, and end it with an ellipsis."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def letter_size(width: int) -> int:
    """Return the font size in pixels for a sheet of this width; wide sheets are often shown reduced."""
    return min(21, max(14, round(width / 46)))


def titled(body: Image.Image, title: str, note: str) -> Image.Image:
    """Add a margin, a bold title and a note on how to read the sheet."""
    small = letter_size(body.width)
    title_font, note_font = font(round(1.35 * small), bold=True), font(small)
    rows = [(line, title_font, INK) for line in wrap(title, title_font, body.width)]
    rows += [(line, note_font, SOFT_INK) for line in wrap(note, note_font, body.width)]
    pitch = [round(1.4 * letters.size) for _, letters, _ in rows]
    top = MARGIN + sum(pitch) + small
    sheet = Image.new("RGB", (body.width + 2 * MARGIN, top + body.height + MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    y = MARGIN
    for (line, letters, ink), step in zip(rows, pitch, strict=True):
        draw.text((MARGIN, y), line, font=letters, fill=ink)
        y += step
    sheet.paste(body, (MARGIN, top))
    return sheet


def number(value: float) -> str:
    """Format with three significant digits, with an exponent only for very large and very small values."""
    if value == 0 or not 1e-3 <= abs(value) < 1e6:
        return f"{value:.3g}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"
