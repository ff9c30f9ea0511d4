"""Patterns of the built-in images: noise for backgrounds and fur, and the textures of bodies."""

import math
from collections.abc import Callable
from functools import cache

import numpy as np

from convlens.data.synthetic.shapes import Array, Texture


@cache
def _spline_weights(size: int, cells: int) -> Array:
    """Return the cubic B-spline weights [size, cells + 3] of the lattice values at each pixel centre."""
    at = (np.arange(size) + 0.5) / size * cells
    cell = np.minimum(at.astype(int), cells - 1)
    t = at - cell
    weights = np.zeros((size, cells + 3))
    rows = np.arange(size)
    for tap, value in enumerate([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]):
        weights[rows, cell + tap] = value / 6
    return weights


def smooth_noise(lattice: Array, size: int) -> Array:
    """Return the lattice [cells + 3, cells + 3] as a smooth surface at the centres of size x size pixels (float32).

    The product is taken in float64, so that the order of summation of a library cannot change a pixel.
    """
    weights = _spline_weights(size, lattice.shape[0] - 3)
    return (weights @ lattice @ weights.T).astype(np.float32)


def _edge(inside: Array, sharpness: float) -> Array:
    """Return the coverage of a pixel from its distance to an edge, positive inside, in local units."""
    inside *= sharpness
    inside += 0.5
    return np.clip(inside, 0, 1, out=inside)


def _stripes(x: Array, y: Array, period: float, phase: float, sharpness: float) -> Array:
    wave = y / period + 0.16 * np.sin(3.1 * x + 6.3 * phase) + phase
    wave -= np.floor(wave)
    wave -= 0.5
    return _edge((0.24 - np.abs(wave)) * period, sharpness)


def _spots(x: Array, y: Array, period: float, phase: float, sharpness: float) -> Array:
    v = y / (0.87 * period) + phase
    row = np.floor(v)
    u = x / period + 0.5 * row
    u -= np.floor(u)
    u -= 0.5
    v -= row
    v -= 0.5
    v *= 0.87
    return _edge((0.33 - np.hypot(u, v)) * period, sharpness)


def _scales(x: Array, y: Array, period: float, phase: float, sharpness: float) -> Array:
    v = y / (0.7 * period) + phase
    row = np.floor(v)
    u = x / period + 0.5 * row
    u -= np.floor(u)
    u -= 0.5
    v -= row
    hem = np.sqrt(1 - 3.6 * u * u)
    shade = (v / hem) ** 3
    return shade * _edge((hem - v) * 0.7 * period, sharpness)


def _blotches(x: Array, y: Array, period: float, phase: float, sharpness: float) -> Array:
    k = 2.2 / period
    field = np.sin(k * x + 6.3 * phase) + np.sin(k * (0.4 * x + 0.95 * y) - 17 * phase)
    field += np.sin(k * (0.75 * x - 0.8 * y) + 29 * phase)
    return _edge((field - 0.55) / (1.6 * k), sharpness)


TEXTURES: dict[str, Callable[[Array, Array, float, float, float], Array]] = {
    "stripes": _stripes,
    "spots": _spots,
    "scales": _scales,
    "blotches": _blotches,
}


def texture_strength(texture: Texture, x: Array, y: Array, sharpness: float) -> Array:
    """Return the share of the texture's colour at each local point; ``sharpness`` is in pixels per local unit."""
    cos, sin = math.cos(texture.turn), math.sin(texture.turn)
    return TEXTURES[texture.kind](cos * x + sin * y, cos * y - sin * x, texture.period, texture.phase, sharpness)
