"""The cached images of an evaluation protocol, in the order of its pool."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from convlens.data.cache.split_rows import CachedSplit, OnCorrupt, handle_unreadable
from convlens.data.cache.store import cache_images
from convlens.data.decode import ResizeMode
from convlens.data.sources.base import Source
from convlens.data.sources.exclude import Exclusions
from convlens.data.splits.protocol import Protocol
from convlens.errors import InputError


class Pool(NamedTuple):
    """A protocol whose splits hold readable images only, and the cached images of each of its indexes."""

    protocol: Protocol
    parts: tuple[CachedSplit, ...]

    def starting_at(self, start: int) -> list[CachedSplit]:
        """Return the images of the pool from position ``start`` on; unreadable ones are black and keep their place.

        Raises:
            InputError: there is no such position.
        """
        if not 0 <= start <= len(self.protocol):
            raise InputError(f"start is {start}: the pool of {self.protocol.title} has 0 to {len(self.protocol)}")
        sizes = [len(part.rows) for part in self.parts]
        firsts = np.clip(start - np.cumsum([0, *sizes[:-1]]), 0, sizes)
        return [CachedSplit(part.cache, part.rows[first:]) for part, first in zip(self.parts, firsts, strict=True)]


def cache_pool(
    source: Source, size: int, cache_dir: Path, resize_mode: ResizeMode, excluded: Exclusions, on_corrupt: OnCorrupt
) -> Pool:
    """Cache all images of a source's protocol, and remove unreadable and excluded images from its splits.

    Raises:
        InputError: an image is unreadable and ``on_corrupt`` is ``fatal``, or an excluded name is unknown.
    """
    protocol = source.protocol()
    if excluded.names:
        val = source.split("val")  # not part of a protocol, but its names may be excluded
        excluded.check_names([*protocol.image_indexes, *([val.image_index] if val else [])])
    resized = tuple(image_index.with_resize_mode(resize_mode) for image_index in protocol.image_indexes)
    protocol = replace(protocol, image_indexes=resized)
    parts, unreadable, start = [], [], 0
    for image_index in resized:
        cache = cache_images(image_index, size, cache_dir)
        handle_unreadable(cache, on_corrupt)
        parts.append(CachedSplit(cache, np.arange(len(image_index))))
        unreadable += [start + row for row in cache.unreadable]
        start += len(image_index)
    left_out: Int64[np.ndarray, " k"] = np.array(unreadable, np.int64)
    return Pool(protocol.without(left_out).without(excluded.positions_in(protocol.names)), tuple(parts))
