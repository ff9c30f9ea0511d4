"""Resolution-independent shapes of the built-in images: blobs and strokes.

A *blob* is an ellipse, or a star-shaped outline kept as a table of radii over the angle, under an affine map; a
*stroke* is a polyline with a round pen of varying radius. Image coordinates run from 0 to 1, x to the right and y down.
"""

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.floating]
Point: TypeAlias = tuple[float, float]
Colour: TypeAlias = tuple[float, float, float]
Bounds: TypeAlias = tuple[float, float, float, float]  # left, top, right, bottom

TABLE_SIZE = 1024
ANGLES: Array = (np.arange(TABLE_SIZE) + 0.5) * (2 * math.pi / TABLE_SIZE) - math.pi
_COS, _SIN = np.cos(ANGLES), np.sin(ANGLES)


class Affine(NamedTuple):
    """The map (x, y) -> (a x + b y + tx, c x + d y + ty)."""

    a: float
    b: float
    c: float
    d: float
    tx: float = 0.0
    ty: float = 0.0

    def then(self, outer: "Affine") -> "Affine":
        """Return the composition: this map first, then ``outer``."""
        a, b, c, d, tx, ty = self
        a2, b2, c2, d2, tx2, ty2 = outer
        return Affine(
            a2 * a + b2 * c,
            a2 * b + b2 * d,
            c2 * a + d2 * c,
            c2 * b + d2 * d,
            a2 * tx + b2 * ty + tx2,
            c2 * tx + d2 * ty + ty2,
        )

    def inverse(self) -> "Affine":
        """Return the inverse map."""
        a, b, c, d, tx, ty = self
        det = a * d - b * c
        a, b, c, d = d / det, -b / det, -c / det, a / det
        return Affine(a, b, c, d, -(a * tx + b * ty), -(c * tx + d * ty))

    def scale(self) -> float:
        """Return the square root of the change of area."""
        return math.sqrt(abs(self.a * self.d - self.b * self.c))


def place(x: float, y: float, width: float, height: float, angle: float = 0.0) -> Affine:
    """Return the map that stretches [-1, 1]^2 to half-sizes, rotates it by ``angle`` radians and moves it to (x, y)."""
    cos, sin = math.cos(angle), math.sin(angle)
    return Affine(cos * width, -sin * height, sin * width, cos * height, x, y)


class Outline(NamedTuple):
    """A star-shaped outline: its radius at each of ``ANGLES``, and the gradient of (distance / radius) there."""

    radii: Array
    gradient_x: Array
    gradient_y: Array
    points_x: Array  # some of the points on it, to find its bounds
    points_y: Array


def outline_of(radii: Array) -> Outline:
    """Return the outline with these radii at ``ANGLES``."""
    around = np.concatenate([radii[-1:], radii, radii[:1]])
    slope = (around[2:] - around[:-2]) * (TABLE_SIZE / (4 * math.pi)) / radii
    gradient_x, gradient_y = (_COS + slope * _SIN) / radii, (_SIN - slope * _COS) / radii
    some = slice(None, None, 8)
    return Outline(radii, gradient_x, gradient_y, (radii * _COS)[some], (radii * _SIN)[some])


class Texture(NamedTuple):
    """A second colour laid over a blob in a pattern, in the blob's own coordinates."""

    kind: str
    colour: Colour
    period: float
    turn: float
    phase: float


class Blob(NamedTuple):
    """A filled outline (None: the unit circle) under the map ``frame``; ``part`` is the part it belongs to."""

    part: int
    outline: Outline | None
    frame: Affine
    colour: Colour
    rim: float = 0.0  # width of the darkened border, in image units
    dome: Point = (0.0, 0.0)  # strength of shading along the blob's own x and y
    texture: Texture | None = None

    def transformed(self, frame: Affine) -> "Blob":
        """Return the blob under one more map."""
        part, shape, inner, colour, rim, dome, texture = self
        return Blob(part, shape, inner.then(frame), colour, rim * frame.scale() if rim else 0.0, dome, texture)

    def bounds(self) -> Bounds:
        """Return the smallest upright rectangle around the blob."""
        a, b, c, d, tx, ty = self.frame
        if self.outline is None:
            width, height = math.hypot(a, b), math.hypot(c, d)
            return tx - width, ty - height, tx + width, ty + height
        x = a * self.outline.points_x + b * self.outline.points_y
        y = c * self.outline.points_x + d * self.outline.points_y
        return float(x.min()) + tx, float(y.min()) + ty, float(x.max()) + tx, float(y.max()) + ty


class Stroke(NamedTuple):
    """A line through ``path`` [points, 2] with a round pen; ``pen`` is its radius at each point."""

    part: int
    path: Array
    pen: Array
    colour: Colour
    rim: float = 0.0

    def transformed(self, frame: Affine) -> "Stroke":
        """Return the stroke under one more map."""
        path = self.path @ np.array([[frame.a, frame.c], [frame.b, frame.d]])
        path += (frame.tx, frame.ty)
        scale = frame.scale()
        return Stroke(self.part, path, self.pen * scale, self.colour, self.rim * scale)

    def bounds(self) -> Bounds:
        """Return the smallest upright rectangle around the stroke."""
        low, high = (self.path.T - self.pen).min(axis=1), (self.path.T + self.pen).max(axis=1)
        return (*low.tolist(), *high.tolist())


Shape: TypeAlias = Blob | Stroke


def _polygon(vertices: Sequence[Point], rounding: float = 0.0) -> Array:
    """Return the radii of a polygon around the origin; ``rounding`` is the Gaussian blur of its corners in radians."""
    start = np.array(vertices)
    edge = np.roll(start, -1, axis=0) - start
    cross = start[:, 0] * edge[:, 1] - start[:, 1] * edge[:, 0]
    along_ray = _COS * edge[:, 1, None] - _SIN * edge[:, 0, None]
    along_edge = (start[:, 0, None] * _SIN - start[:, 1, None] * _COS) / along_ray
    distance = cross[:, None] / along_ray
    hit = (distance > 0) & (along_edge > -1e-9) & (along_edge < 1 + 1e-9)
    radii = np.where(hit, distance, np.inf).min(axis=0)
    if rounding:
        away = ANGLES - ANGLES[0]
        kernel = np.exp(-0.5 * (np.minimum(away, 2 * math.pi - away) / rounding) ** 2)
        radii = np.fft.irfft(np.fft.rfft(radii) * np.fft.rfft(kernel / kernel.sum()), TABLE_SIZE)
    return radii


def _profile(half_width: Callable[[Array], Array]) -> Array:
    """Return the radii of the symmetric shape with half-width ``half_width(y)`` for -1 <= y <= 1."""
    y = np.linspace(-1, 1, 65)[1:-1]
    right = list(zip(half_width(y), y, strict=True))
    return _polygon([*right, *((-x, y) for x, y in reversed(right))], rounding=0.06)


OUTLINES: dict[str, Callable[[], Array]] = {
    "box": lambda: (np.abs(_COS) ** 3.6 + np.abs(_SIN) ** 3.6) ** (-1 / 3.6),
    "triangle": lambda: _polygon([(0, -1), (1, 0.9), (-1, 0.9)], 0.05),
    "wedge": lambda: _polygon([(1, -0.75), (0.12, 0.95), (-0.12, 0.95), (-1, -0.75)], 0.1),
    "diamond": lambda: _polygon([(0, -1), (1, -0.15), (0, 1), (-1, -0.15)], 0.03),
    "leaf": lambda: _profile(lambda y: (1 - y * y) ** 0.8 * (1 + 0.25 * y)),
    "pear": lambda: _profile(lambda y: np.sqrt(1 - y * y) * (0.84 + 0.24 * np.tanh(2.5 * (y - 0.05)))),
    "egg": lambda: _profile(lambda y: np.sqrt(1 - y * y) * (1 + 0.18 * y)),
    "chin": lambda: _profile(lambda y: np.sqrt(1 - y * y) * (0.86 - 0.36 * y)),
    "snout": lambda: _polygon([(0.95, -0.9), (0.78, 0.35), (0.62, 1), (-0.62, 1), (-0.78, 0.35), (-0.95, -0.9)], 0.09),
    "hexagon": lambda: _polygon([(0.55, -1), (1, -0.2), (0.42, 1), (-0.42, 1), (-1, -0.2), (-0.55, -1)], 0.03),
    "fin": lambda: _polygon([(-1, 0.5), (-1, -0.5), (1, -1), (0.35, -0.4), (0.95, 0), (0.3, 0.3), (0.7, 0.95)], 0.02),
}


@cache
def outline(name: str) -> Outline | None:
    """Return a named outline, within about [-1, 1]^2; None for "circle", which is drawn without a table."""
    return None if name == "circle" else outline_of(OUTLINES[name]())


@cache
def stretched_radii(name: str, width: float, height: float) -> Array:
    """Return the radii of a named outline stretched to half-sizes; unlike a map, this does not stretch the texture."""
    x, y = _COS / width, _SIN / height
    shape = outline(name)
    at = ((np.arctan2(y, x) + math.pi) * (TABLE_SIZE / (2 * math.pi))).astype(int) % TABLE_SIZE
    return (1.0 if shape is None else shape.radii[at]) / np.hypot(x, y)
