"""Rendering of a layout at the pixel centres of an image of any size, with anti-aliased edges."""

import math

import numpy as np
from numpy.typing import NDArray

from convlens.data.synthetic.scene import Layout
from convlens.data.synthetic.shapes import TABLE_SIZE, Affine, Array, Colour, Outline, Shape, Stroke
from convlens.data.synthetic.textures import smooth_noise, texture_strength

_TINY = 1e-12


def _rgb(colour: Colour) -> Array:
    return np.array(colour, dtype=np.float32)[:, None, None]


def _window(shape: Shape, size: int) -> tuple[slice, slice] | None:
    """Return the rows and columns that the shape may cover; None if it is outside the image."""
    left, top, right, bottom = shape.bounds()
    margin = 1 + 0.005 * size
    first_x, last_x = max(math.floor(left * size - margin), 0), min(math.ceil(right * size + margin), size)
    first_y, last_y = max(math.floor(top * size - margin), 0), min(math.ceil(bottom * size + margin), size)
    if first_x >= last_x or first_y >= last_y:
        return None
    return slice(first_y, last_y), slice(first_x, last_x)


def _ellipse_distance(frame: Affine, u: Array, v: Array) -> Array:
    """Return the signed distance to the image of the unit circle: F / |grad F| of F(p) = |p| - 1, negative inside."""
    to_local = frame.inverse()
    xx, xy, yy = (
        to_local.a**2 + to_local.c**2,
        to_local.a * to_local.b + to_local.c * to_local.d,
        to_local.b**2 + to_local.d**2,
    )
    u, v = u - frame.tx, v - frame.ty
    gradient_x = xx * u + xy * v
    gradient_y = xy * u + yy * v
    square = gradient_x * u
    square += gradient_y * v
    np.maximum(square, _TINY, out=square)
    gradient_x *= gradient_x
    gradient_y *= gradient_y
    gradient_x += gradient_y
    gradient_x += _TINY
    radius = np.sqrt(square)
    square -= radius
    square /= np.sqrt(gradient_x, out=gradient_x)
    return square


def _outline_distance(outline: Outline, to_local: Affine, x: Array, y: Array) -> Array:
    """Return the signed distance to an outline, negative inside: F / |grad F| of F(p) = |p| / radius(angle of p) - 1.

    x and y are in the outline's own coordinates, the distance in those that ``to_local`` maps from; the gradient is
    taken where the ray through p meets the outline, so that |F| grows linearly along the ray.
    """
    steepness = np.hypot(
        to_local.a * outline.gradient_x + to_local.c * outline.gradient_y,
        to_local.b * outline.gradient_x + to_local.d * outline.gradient_y,
    )
    offset = 1 / steepness
    factor = (offset / outline.radii).astype(np.float32)
    angle = np.arctan2(y, x)
    angle += math.pi
    angle *= TABLE_SIZE / (2 * math.pi) * (1 - 1e-6)
    index = angle.astype(np.int32)
    distance = np.sqrt(x * x + y * y)
    distance *= factor.take(index)
    distance -= offset.astype(np.float32).take(index)
    return distance


def _stroke_distance(stroke: Stroke, u: Array, v: Array) -> Array:
    """Return the signed distance to a stroke, negative inside: to the nearest segment, minus the pen's radius there."""
    start, pen = stroke.path[:-1], stroke.pen.astype(np.float32)[:, None, None]
    step = stroke.path[1:] - start
    start_x, start_y, step_x, step_y = np.concatenate([start, step], axis=1).astype(np.float32).T[..., None, None]
    u, v = u - start_x, v - start_y
    square = step_x * step_x + step_y * step_y
    along = u * (step_x / square) + v * (step_y / square)
    np.maximum(along, 0, out=along)
    np.minimum(along, 1, out=along)
    u, v = u - along * step_x, v - along * step_y
    u *= u
    v *= v
    u += v
    distance = np.sqrt(u, out=u)
    distance -= pen[:-1] + along * (pen[1:] - pen[:-1])
    return distance.min(axis=0)


def _paint(canvas: Array, shape: Shape, centres: Array, grain: Array, owner: NDArray[np.int8] | None) -> None:
    """Draw one shape on the canvas [3, size, size]."""
    size = canvas.shape[-1]
    window = _window(shape, size)
    if window is None:
        return
    u, v = centres[window[1]], centres[window[0], None]
    colour = _rgb(shape.colour)
    shade: Array | None = None
    if isinstance(shape, Stroke):
        distance = _stroke_distance(shape, u, v)
    elif shape.outline is None:
        distance = _ellipse_distance(shape.frame, u, v)
    else:
        to_local = shape.frame.inverse()
        x = (u * to_local.a + to_local.tx) + v * to_local.b
        y = (u * to_local.c + to_local.ty) + v * to_local.d
        distance = _outline_distance(shape.outline, to_local, x, y)
        if shape.texture is not None:
            strength = texture_strength(shape.texture, x, y, size * shape.frame.scale())
            colour = colour + strength * (_rgb(shape.texture.colour) - colour)
        if shape.dome != (0.0, 0.0):
            shade = grain[window] + 1
            shade += x * (shape.dome[0])
            shade += y * (shape.dome[1])
    if owner is not None:
        owner[window][distance < 0] = shape.part
    if shape.rim:
        rim = distance * (-0.6 / shape.rim)
        rim += 0.4
        np.minimum(rim, 1, out=rim)
        shade = rim if shade is None else shade * rim
    if shade is not None:
        colour = colour * shade
    distance *= -size
    distance += 0.5
    coverage = np.minimum(np.maximum(distance, 0, out=distance), 1, out=distance)
    target = canvas[:, window[0], window[1]]
    change = colour - target
    change *= coverage
    target += change


def _ground(layout: Layout, centres: Array, grain: Array) -> Array:
    """Return the background: two colours mixed by noise of two scales, grain and gratings."""
    size = len(centres)
    mix = smooth_noise(layout.mix[0], size)
    mix += smooth_noise(layout.mix[1], size)
    mix *= 0.5
    mix += 0.5
    tone = grain * 1.2
    for (cycles_x, cycles_y), phase, strength in layout.gratings:
        x = centres * (2 * math.pi * cycles_x) + phase
        y = (centres * (2 * math.pi * cycles_y))[:, None]
        tone += np.sin(x) * (strength * np.cos(y))  # sin(x + y)
        tone += np.cos(x) * (strength * np.sin(y))
    first, second = _rgb(layout.ground[0]), _rgb(layout.ground[1])
    canvas = mix * (second - first)
    canvas += first
    canvas += tone
    return canvas


def render(layout: Layout, size: int, owner: NDArray[np.int8] | None = None) -> NDArray[np.uint8]:
    """Return the image [3, size, size]; fill ``owner`` [size, size], if given, with the part on top at each pixel."""
    centres = ((np.arange(size) + 0.5) / size).astype(np.float32)
    grain = smooth_noise(layout.grain, size)
    canvas = _ground(layout, centres, grain)
    for shape in layout.shapes:
        _paint(canvas, shape, centres, grain, owner)
    ramp = 2 * centres - 1
    gain = (1 + (layout.light[0]) * ramp) + ((layout.light[1]) * ramp)[:, None]
    canvas *= 255 * layout.contrast
    canvas += 255 * (0.5 + layout.brightness - 0.5 * layout.contrast)
    canvas *= gain
    canvas += 0.5
    np.maximum(canvas, 0, out=canvas)
    return np.minimum(canvas, 255, out=canvas).astype(np.uint8)
