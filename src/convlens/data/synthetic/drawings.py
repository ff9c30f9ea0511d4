"""Drawings of the creatures' ears, eyes, noses and mouths, as tables of filled outlines and curves.

Ears are in creature coordinates for the creature's left side (positive x), eyes, noses and mouths relative to their own
centre; the body spans about [-1, 1] in both directions, y down.
"""

import math
from typing import NamedTuple

import numpy as np

from convlens.data.synthetic.shapes import Affine, Array, Blob, Colour, Point, Shape, Stroke, outline, place

RIM = 0.055


class Palette(NamedTuple):
    """The colours of one creature."""

    body: Colour
    second: Colour  # of the texture
    inner: Colour  # of the ears
    light: Colour  # white of the eyes, teeth, horns
    iris: Colour
    dark: Colour
    nose: Colour
    tongue: Colour


class FilledOutline(NamedTuple):
    """A named outline at (x, y) with half-sizes, rotated by ``turn`` radians; ``gaze`` scales a shift by the gaze."""

    outline: str
    x: float
    y: float
    width: float
    height: float
    colour: str
    turn: float = 0.0
    rim: float = 0.0
    gaze: float = 0.0


class Polyline(NamedTuple):
    """A polyline drawn by a pen whose radius changes from one value to another."""

    path: Array
    pen: Point
    colour: str = "dark"
    rim: float = 0.0


def _curve(x: Array, y: Array, pen: Point, colour: str = "dark", rim: float = 0.0) -> Polyline:
    return Polyline(np.stack([x, y], axis=1), pen, colour, rim)


_T = np.linspace(0, 1, 9)
_S = np.linspace(-1, 1, 9)
_ARC = 1 - _S**2
_GLINT = FilledOutline("circle", 0.03, -0.06, 0.05, 0.05, "light", gaze=0.5)

Drawing = tuple[FilledOutline | Polyline, ...]

EARS: dict[str, Drawing] = {
    "none": (),
    "round": (
        FilledOutline("circle", 0.72, -0.74, 0.36, 0.36, "body", rim=RIM),
        FilledOutline("circle", 0.73, -0.74, 0.2, 0.2, "inner"),
    ),
    "huge": (
        FilledOutline("circle", 0.88, -0.78, 0.58, 0.58, "body", rim=RIM),
        FilledOutline("circle", 0.88, -0.76, 0.4, 0.4, "inner"),
    ),
    "pointed": (
        FilledOutline("triangle", 0.66, -0.88, 0.44, 0.52, "body", 0.42, RIM),
        FilledOutline("triangle", 0.66, -0.84, 0.24, 0.32, "inner", 0.42),
    ),
    "long": (
        FilledOutline("circle", 0.42, -1.3, 0.24, 0.78, "body", 0.16, RIM),
        FilledOutline("circle", 0.42, -1.3, 0.12, 0.58, "inner", 0.16),
    ),
    "floppy": (FilledOutline("leaf", 0.86, -0.14, 0.3, 0.68, "second", -0.3, RIM),),
    "tuft": (FilledOutline("triangle", 0.62, -1.02, 0.24, 0.46, "body", 0.62, RIM),),
    "flap": (
        FilledOutline("wedge", 0.74, -0.68, 0.36, 0.42, "body", -0.9, RIM),
        FilledOutline("wedge", 0.73, -0.69, 0.2, 0.23, "inner", -0.9),
    ),
    "fin": (FilledOutline("fin", 1.08, -0.4, 0.44, 0.52, "inner", -0.35, RIM),),
    "leaf": (
        FilledOutline("leaf", 0.58, -1.28, 0.25, 0.44, "body", 0.42, RIM),
        FilledOutline("leaf", 0.58, -1.26, 0.13, 0.27, "inner", 0.42),
    ),
    "horn": (_curve(0.55 + 0.75 * np.sin(1.9 * _T), -0.72 - 0.72 * _T**2, (0.2, 0.04), "light", RIM),),
    "antenna": (
        _curve(0.3 + 0.55 * _T**1.6, -0.7 - 0.95 * _T + 0.2 * _T**3, (0.07, 0.07)),
        FilledOutline("circle", 0.85, -1.45, 0.2, 0.2, "inner", rim=RIM),
    ),
}

EYES: dict[str, Drawing] = {
    "dot": (FilledOutline("circle", 0, 0, 0.15, 0.16, "dark"), _GLINT),
    "round": (
        FilledOutline("circle", 0, 0, 0.25, 0.27, "light", rim=RIM),
        FilledOutline("circle", 0, 0.03, 0.14, 0.15, "dark", gaze=1),
        _GLINT,
    ),
    "slit": (
        FilledOutline("circle", 0, 0, 0.3, 0.21, "iris", -0.3, RIM),
        FilledOutline("circle", 0, 0, 0.07, 0.19, "dark", gaze=0.8),
    ),
    "ringed": (
        FilledOutline("circle", 0, 0, 0.43, 0.43, "light", rim=0.09),
        FilledOutline("circle", 0, 0, 0.28, 0.28, "iris", rim=RIM),
        FilledOutline("circle", 0, 0, 0.16, 0.16, "dark", gaze=1),
        _GLINT,
    ),
    "bulging": (
        FilledOutline("circle", 0, 0, 0.4, 0.38, "body", rim=RIM),
        FilledOutline("circle", 0, 0, 0.27, 0.25, "light", rim=0.02),
        FilledOutline("circle", 0, 0, 0.2, 0.1, "dark", gaze=0.8),
    ),
    "compound": (
        FilledOutline("circle", 0, 0, 0.28, 0.42, "iris", 0.35, 0.1),
        FilledOutline("circle", -0.02, -0.14, 0.09, 0.15, "light", 0.35),
    ),
    "sleepy": (
        FilledOutline("circle", 0, 0, 0.24, 0.22, "light", rim=RIM),
        FilledOutline("circle", 0, 0.05, 0.12, 0.13, "dark", gaze=0.8),
        FilledOutline("circle", 0, -0.14, 0.27, 0.13, "second", 0.15, 0.02),
    ),
    "angry": (
        FilledOutline("circle", 0, 0, 0.27, 0.17, "iris", -0.5, RIM),
        FilledOutline("circle", 0, 0, 0.19, 0.055, "dark", -0.5, gaze=0.3),
    ),
    "lashed": (
        _curve(np.array([-0.04, 0.2, 0.3]), np.array([-0.02, -0.2, -0.34]), (0.14, 0.05)),
        FilledOutline("circle", 0, 0, 0.17, 0.2, "dark"),
        _GLINT,
    ),
}

NOSES: dict[str, Drawing] = {
    "oval": (
        FilledOutline("circle", 0, 0, 0.25, 0.18, "dark", rim=RIM),
        FilledOutline("circle", -0.07, -0.08, 0.08, 0.04, "light"),
    ),
    "ball": (
        FilledOutline("circle", 0, 0, 0.16, 0.16, "nose", rim=RIM),
        FilledOutline("circle", -0.04, -0.06, 0.05, 0.04, "light"),
    ),
    "pad": (
        FilledOutline("circle", 0, 0, 0.52, 0.27, "nose", rim=RIM),
        FilledOutline("circle", -0.24, 0, 0.08, 0.11, "dark"),
        FilledOutline("circle", 0.24, 0, 0.08, 0.11, "dark"),
    ),
    "wedge": (FilledOutline("wedge", 0, 0, 0.18, 0.15, "nose", rim=RIM),),
    "nostrils": (
        FilledOutline("circle", -0.15, 0, 0.065, 0.095, "dark"),
        FilledOutline("circle", 0.15, 0, 0.065, 0.095, "dark"),
    ),
    "beak": (FilledOutline("diamond", 0, 0, 0.19, 0.38, "nose", rim=RIM),),
    "snout": (
        FilledOutline("circle", 0, 0, 0.42, 0.32, "nose", rim=RIM),
        FilledOutline("circle", -0.16, 0, 0.08, 0.13, "dark"),
        FilledOutline("circle", 0.16, 0, 0.08, 0.13, "dark"),
    ),
}

MOUTHS: dict[str, Drawing] = {
    "smile": (_curve(0.3 * _S, 0.13 * _ARC, (0.05, 0.05)),),
    "grin": (_curve(0.46 * _S, 0.3 * _ARC, (0.06, 0.06)),),
    "wide": (_curve(0.85 * _S, 0.2 * _ARC, (0.06, 0.06)),),
    "frown": (_curve(0.26 * _S, -0.14 * _ARC, (0.05, 0.05)),),
    "flat": (_curve(0.3 * _S, 0 * _S, (0.055, 0.055)),),
    "double": (_curve(0.36 * _S, 0.17 * np.abs(np.sin(math.pi * _S)), (0.05, 0.05)),),
    "zigzag": (_curve(0.5 * _S, 0.09 * (-1.0) ** np.arange(9), (0.05, 0.05)),),
    "tongue": (
        FilledOutline("box", 0, 0.26, 0.14, 0.23, "tongue", rim=0.03),
        _curve(0.34 * _S, 0.14 * _ARC, (0.05, 0.05)),
    ),
    "teeth": (
        FilledOutline("box", 0, 0.2, 0.13, 0.16, "light", rim=0.03),
        _curve(0.24 * _S, 0.08 * _ARC, (0.05, 0.05)),
    ),
}


def draw(drawing: Drawing, part: int, frame: Affine, colours: Palette, gaze: Point = (0.0, 0.0)) -> list[Shape]:
    """Return the shapes of a drawing under ``frame``; ``gaze`` is an eye's direction, from -1 to 1 on each axis."""
    shapes: list[Shape] = []
    for row in drawing:
        colour = getattr(colours, row.colour)
        shape: Shape
        if isinstance(row, Polyline):
            shape = Stroke(part, row.path, np.linspace(*row.pen, len(row.path)), colour, row.rim)
        else:
            x, y = row.x + 0.08 * row.gaze * gaze[0], row.y + 0.08 * row.gaze * gaze[1]
            shape = Blob(part, outline(row.outline), place(x, y, row.width, row.height, row.turn), colour, row.rim)
        shapes.append(shape.transformed(frame))
    return shapes
