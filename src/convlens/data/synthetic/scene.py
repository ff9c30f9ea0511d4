"""Random choices of a built-in image: the creature's pose and colours, the background shapes, the light.

They do not depend on the size of the image: a layout is a list of shapes and lattices of noise in coordinates from 0
to 1, which ``render`` samples at any size. All but the creature's kind is independent of the class.
"""

import colorsys
import math
from typing import NamedTuple

import numpy as np

from convlens.data.synthetic.creatures import CREATURES, draw_creature
from convlens.data.synthetic.drawings import EARS, EYES, MOUTHS, NOSES, Palette, draw
from convlens.data.synthetic.shapes import (
    OUTLINES,
    Affine,
    Array,
    Blob,
    Colour,
    Point,
    Shape,
    Stroke,
    Texture,
    outline,
    place,
)

CLUTTER = -1
MARGIN = 0.01  # between the creature and the border of the image
_TEXTURES = ("stripes", "spots", "scales", "blotches")
_PATCHES = tuple(OUTLINES)
_LOOSE_PARTS = tuple(drawing for table in (EARS, EYES, NOSES, MOUTHS) for drawing in table.values())


class Grating(NamedTuple):
    """A sine wave over the background: cycles per image along x and y, phase in radians, strength."""

    cycles: Point
    phase: float
    strength: float


class Layout(NamedTuple):
    """One image before it has a size."""

    shapes: list[Shape]  # back to front, clutter first
    ground: tuple[Colour, Colour]  # the two colours of the background
    mix: tuple[Array, Array]  # lattices, coarse and fine: how the two colours mix
    grain: Array  # lattice: fine variation of brightness, of the ground and of bodies
    gratings: list[Grating]
    light: Point  # change of brightness from the centre to the right and to the lower border
    contrast: float
    brightness: float


def _colour(hue: float, saturation: float, tone: float) -> Colour:
    """Return a colour of this hue, darkened or mixed with white to the luminance ``tone``."""
    r, g, b = colorsys.hsv_to_rgb(hue % 1, saturation, 0.9)
    now = 0.299 * r + 0.587 * g + 0.114 * b
    if tone < now:
        return r * tone / now, g * tone / now, b * tone / now
    white = (min(tone, 1) - now) / (1 - now)
    return r + (1 - r) * white, g + (1 - g) * white, b + (1 - b) * white


def sample_palette(rng: np.random.Generator, tone: float) -> Palette:
    """Return random colours for a creature of luminance ``tone``; texture and nose differ from the body."""
    u = rng.random(14).tolist()
    away = 1 if tone < 0.5 else -1
    return Palette(
        body=_colour(u[0], 0.25 + 0.5 * u[1], tone),
        second=_colour(u[0] + 0.3 * (u[2] - 0.5), 0.2 + 0.5 * u[3], tone + away * (0.2 + 0.2 * u[4])),
        inner=_colour(u[5], 0.3 + 0.4 * u[6], tone + away * 0.22),
        light=_colour(u[7], 0.1, 0.86 + 0.1 * u[8]),
        iris=_colour(u[9], 0.75, 0.55 + 0.25 * u[10]),
        dark=_colour(u[7], 0.5, 0.04 + 0.08 * u[8]),
        nose=_colour(u[11], 0.5, tone + away * (0.25 + 0.15 * u[12])),
        tongue=_colour(0.95 + 0.1 * u[13], 0.6, 0.5),
    )


def sample_pose(rng: np.random.Generator, shapes: list[Shape]) -> Affine:
    """Return a map that puts the shapes inside the image, rotated by up to 25 degrees and sheared slightly."""
    squash, shear, degrees = (rng.uniform(-1, 1, 3) * (0.1, 0.1, 25)).tolist()
    pose = Affine(1 + squash, shear, 0, 1 - squash).then(place(0, 0, 1, 1, math.radians(degrees)))
    lefts, tops, rights, bottoms = zip(*(shape.transformed(pose).bounds() for shape in shapes), strict=True)
    left, top = min(lefts), min(tops)
    width, height = max(rights) - left, max(bottoms) - top
    extent, *free = rng.random(3).tolist()
    scale = (0.62 + 0.33 * extent) / max(width, height)
    x = MARGIN + free[0] * (1 - 2 * MARGIN - scale * width) - scale * left
    y = MARGIN + free[1] * (1 - 2 * MARGIN - scale * height) - scale * top
    return pose.then(Affine(scale, 0, 0, scale, x, y))


def _loose_part(rng: np.random.Generator) -> list[Shape]:
    """Return a random ear, eye, nose or mouth without a creature."""
    drawing = _LOOSE_PARTS[rng.integers(len(_LOOSE_PARTS))]
    x, y, tone, scale, turn = rng.random(5).tolist()
    scale = 0.12 + 0.12 * scale
    frame = place(x, y, scale, scale, 2 * math.pi * turn)
    return draw(drawing, CLUTTER, frame, sample_palette(rng, 0.2 + 0.6 * tone))


def _patch(rng: np.random.Generator) -> Shape:
    """Return a textured blob."""
    name, kind = _PATCHES[rng.integers(len(_PATCHES))], _TEXTURES[rng.integers(len(_TEXTURES))]
    x, y, width, height, tone, turn, period, lean, phase = rng.random(9).tolist()
    colours = sample_palette(rng, 0.2 + 0.6 * tone)
    frame = place(x, y, 0.1 + 0.14 * width, 0.1 + 0.14 * height, 2 * math.pi * turn)
    texture = Texture(kind, colours.second, 0.4 + 0.6 * period, 2 * math.pi * lean, phase)
    return Blob(CLUTTER, outline(name), frame, colours.body, texture=texture)


def _bar(rng: np.random.Generator) -> Shape:
    """Return a straight stroke."""
    hue, tone, pen = rng.random(3).tolist()
    return Stroke(CLUTTER, rng.random((2, 2)), np.full(2, 0.008 + 0.022 * pen), _colour(hue, 0.5, 0.2 + 0.6 * tone))


def sample_clutter(rng: np.random.Generator) -> list[Shape]:
    """Return the background shapes: textured patches, bars and loose parts."""
    shapes = [_patch(rng) for _ in range(3)] + [_bar(rng) for _ in range(rng.integers(1, 4))]
    for _ in range(rng.integers(4, 8)):
        shapes += _loose_part(rng)
    return shapes


def _grating(rng: np.random.Generator) -> Grating:
    angle, cycles, phase, strength = (rng.random(4) * (math.pi, 11, 2 * math.pi, 0.07)).tolist()
    return Grating(((3 + cycles) * math.cos(angle), (3 + cycles) * math.sin(angle)), phase, strength)


def sample_layout(label: int, rng: np.random.Generator) -> Layout:
    """Return all random choices for one image of class ``label``."""
    tone, away, hue, hue_2, saturation, saturation_2, contrast, brightness = rng.random(8).tolist()
    tone = 0.25 + 0.5 * tone
    # Light creatures get a darker ground and dark ones a lighter one; otherwise they could be invisible.
    ground = tone + (0.17 + 0.14 * away) * (1 if tone < 0.5 else -1)
    light_x, light_y = rng.uniform(-0.3, 0.3, 2).tolist()
    creature = list(CREATURES.values())[label]
    shapes = draw_creature(rng, creature, sample_palette(rng, tone), (0.8 * light_x, 0.8 * light_y))
    pose = sample_pose(rng, shapes)
    return Layout(
        shapes=sample_clutter(rng) + [shape.transformed(pose) for shape in shapes],
        ground=(_colour(hue, 0.6 * saturation, ground - 0.1), _colour(hue_2, 0.6 * saturation_2, ground + 0.1)),
        mix=(rng.normal(0, 0.8, (7, 7)), rng.normal(0, 0.6, (13, 13))),
        grain=rng.normal(0, 0.09, (29, 29)),
        gratings=[_grating(rng) for _ in range(2)],
        light=(light_x, light_y),
        contrast=0.8 + 0.4 * contrast,
        brightness=0.16 * brightness - 0.08,
    )
