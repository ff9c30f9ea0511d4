"""Where windows lie in the images and in the maps above them, and cutting them out."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F


class NotLocalError(Exception):
    """The network does something that cannot be computed window by window."""


class OutsideError(NotLocalError):
    """The units of a window see nothing of a map, only its padding."""


@dataclass(frozen=True)
class Span:
    """Where windows lie along one axis of their maps, in places.

    The window of a unit at place p is ``length`` long from ``start + p * step`` on. Units that share a window are those
    from the first to the last of ``places``; it holds what lies inside of the map, which is ``size`` long.
    """

    start: int
    length: int
    step: int
    size: int
    places: tuple[int, int] | None

    @property
    def held(self) -> tuple[int, int]:
        """First place and the one after the last, from the map's border if shared, else from p * step on."""
        if self.places is None:
            return self.start, self.start + self.length
        low = max(self.start + self.places[0] * self.step, 0)
        high = min(self.start + self.places[1] * self.step + self.length, self.size)
        if low >= high:
            raise OutsideError("a window outside of the map")
        return low, high

    def begin(self, place: int) -> int:
        """First place of the window of a unit."""
        return self.held[0] + (place * self.step if self.places is None else 0)

    def of_unit(self, places: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
        """Where in their windows the units at these places of this map are."""
        return (places if self.places else torch.zeros_like(places)) - self.held[0]

    def above(self, extent: int, stride: int, before: int, size: int) -> "Span":
        """The outputs of a sliding window that are made of places in the span, or beyond the border."""
        if self.step % stride:
            raise NotLocalError("branches of different strides")
        first = -(-(self.start + before) // stride)
        count = (self.start + self.length - first * stride + before - extent) // stride + 1
        if count < 1:
            raise NotLocalError("a window smaller than a kernel")
        return Span(first, count, self.step // stride, size, self.places)


Grid = tuple[Span, Span]


def cut_to(x: Tensor, axis: int, low: int, ranges: tuple[int, int], fill: float) -> Tensor:
    """Places ``ranges`` of an axis (-2 or -1) of a tensor that begins at place ``low``; beyond it there is ``fill``."""
    begin, end = ranges[0] - low, ranges[1] - low
    length = x.shape[axis]
    if begin > 0 or end < length:
        x = x.narrow(axis, max(begin, 0), min(end, length) - max(begin, 0))
    pads = (max(-begin, 0), max(end - length, 0))
    if any(pads):
        x = F.pad(x, pads if axis == -1 else (0, 0, *pads), value=fill)
    return x


def windows_of(
    maps: Float[Tensor, "images c h w"], units: Int[Tensor, "n 3"], grid: Grid
) -> Float[Tensor, "n c h2 w2"]:
    """The windows of units, each given by its image and its place, cut out of whole maps."""
    height, width = (high - low for low, high in (span.held for span in grid))
    # Small maps of many channels: measured, this order in memory is 3 to 16 % faster.
    shape = (len(units), maps.shape[1], height, width)
    windows = torch.empty(shape, dtype=maps.dtype, device=maps.device, memory_format=torch.channels_last)
    for row, (image, y, x) in enumerate(units.tolist()):
        top, left = grid[0].begin(y), grid[1].begin(x)
        windows[row] = maps.detach()[image, :, top : top + height, left : left + width]
    return windows
