"""The images of a protocol as packed pixels, in the order of its pool."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from convlens.data.cache.split_rows import CachedSplit, report_unreadable
from convlens.data.cache.store import pack
from convlens.data.sources.base import Source
from convlens.data.sources.exclude import Excluded
from convlens.data.splits.protocol import Protocol
from convlens.errors import InputError


class Pool(NamedTuple):
    """A protocol whose splits have readable images only, and the cache of each of its listings."""

    protocol: Protocol
    parts: tuple[CachedSplit, ...]

    def since(self, start: int) -> list[CachedSplit]:
        """The images of the pool from an index on; those that cannot be read are black, and keep their place.

        Raises:
            InputError: There is no such index.
        """
        if not 0 <= start <= len(self.protocol):
            raise InputError(f"start is {start}: the pool of {self.protocol.title} has 0 to {len(self.protocol)}")
        sizes = [len(part.rows) for part in self.parts]
        firsts = np.clip(start - np.cumsum([0, *sizes[:-1]]), 0, sizes)
        return [CachedSplit(part.packed, part.rows[first:]) for part, first in zip(self.parts, firsts, strict=True)]


def cache_pool(source: Source, size: int, cache_dir: Path, *, fit: str, excluded: Excluded, corrupt: str) -> Pool:
    """Packs all listings of a source's protocol; neither unreadable nor excluded images are in its splits any more.

    Raises:
        InputError: An image is unreadable and `corrupt` is `fatal`, or there is none of an excluded name.
    """
    protocol = source.protocol()
    if excluded.names:
        val = source.split("val")  # in no protocol, but a name in it is not wrong
        excluded.check_known([*protocol.listings, *([val.listing] if val else [])])
    protocol = replace(protocol, listings=tuple(listing.fitted(fit) for listing in protocol.listings))
    parts, unreadable, start = [], [], 0
    for listing in protocol.listings:
        packed = pack(listing, size, cache_dir)
        report_unreadable(packed, corrupt)
        parts.append(CachedSplit(packed, np.arange(len(listing))))
        unreadable += [start + row for row in packed.unreadable]
        start += len(listing)
    left_out: Int64[np.ndarray, " k"] = np.array(unreadable, np.int64)
    return Pool(protocol.without(left_out).without(excluded.among(protocol.names)), tuple(parts))
