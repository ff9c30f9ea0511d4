"""The same image in two data sets, or twice in one: by normalised correlation, as the paper found them (section 6).

The paper gives neither size, channels nor threshold. Here a first pass compares small grey thumbnails, all with all, by
matrix products; what is above a low threshold is compared again, larger and in colour.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64, UInt8
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from convlens.data.cache.split_rows import cache_listings, own_splits
from convlens.data.datamodule import ImageData
from convlens.errors import InputError

FLAT = 1.0  # grey levels: an image whose spread is below has no structure but noise, and is never like another
_GREY = (0.299, 0.587, 0.114)
_SLACK = 1e-4  # more than products of different shapes differ by
_ROWS_AT_ONCE = 256
_PAIRS_AT_ONCE = 1024


class ImageSet(NamedTuple):
    """Images to compare.

    Attributes:
        names: What tells them apart.
        classes: The name of the class of each.
        stored: Gives the squares of some of them, as bytes.
    """

    names: Sequence[str]
    classes: Sequence[str]
    stored: Callable[[Sequence[int]], UInt8[Tensor, "n 3 s s"]]


class Pair(NamedTuple):
    """An image of one set and one of the other (or of the same), with their correlations, small and large."""

    image: int
    other: int
    small: float
    large: float


@dataclass(frozen=True)
class Rule:
    """What counts as the same image.

    Attributes:
        small_size: Side of the grey thumbnails of the first pass, in pixels.
        small_threshold: Least correlation of these.
        large_size: Side of the coloured squares of the second pass.
        large_threshold: Least correlation of these.
        block: Images in a block of the first pass, which holds block x block numbers.
    """

    small_size: int = 16
    small_threshold: float = 0.93
    large_size: int = 64
    large_threshold: float = 0.97
    block: int = 2048

    def __post_init__(self) -> None:
        if min(self.small_size, self.large_size) < 2 or self.block < 1:
            raise InputError(
                f"sizes {self.small_size} and {self.large_size} px, block {self.block}: give at least 2 px and 1 image"
            )
        for threshold in (self.small_threshold, self.large_threshold):
            if not 0 < threshold <= 1:
                raise InputError(f"a correlation of {threshold} is no threshold: give a number above 0 and up to 1")


class _Part(NamedTuple):
    """Some of the images."""

    names: Sequence[str]
    labels: Sequence[int]
    stored: Callable[[Sequence[int]], UInt8[Tensor, "n 3 s s"]]


def image_set(data: ImageData, splits: Sequence[str] | None = None) -> ImageSet:
    """The images of some splits, one split after the other; None takes all there are, in whatever split or in none.

    With ``data.limit`` those are no more than the splits'.
    """
    if splits is None and data.limit is None:
        parts = _whole(data)
    else:
        parts = [_of_split(data, split) for split in splits or ("train", "val", "test")]
    places = [(part, row) for part, one in enumerate(parts) for row in range(len(one.names))]
    classes = [data.class_names[label] if label >= 0 else "" for one in parts for label in one.labels]

    def stored(indices: Sequence[int]) -> UInt8[Tensor, "n 3 s s"]:
        found = [(place, *places[index]) for place, index in enumerate(indices)]
        images = torch.empty(len(found), 3, data.stored_size, data.stored_size, dtype=torch.uint8)
        for part, one in enumerate(parts):
            wanted = [(place, row) for place, of, row in found if of == part]
            if wanted:
                images[[place for place, _ in wanted]] = one.stored([row for _, row in wanted])
        return images

    return ImageSet([name for one in parts for name in one.names], classes, stored)


def _of_split(data: ImageData, split: str) -> _Part:
    seen = data.dataset(split)
    return _Part([data.image_id(split, row) for row in range(len(seen))], seen.labels.tolist(), seen.stored)


def _whole(data: ImageData) -> list[_Part]:
    """All images of the listings that the splits are drawn from."""
    splits = own_splits(data.source, fit=data.fit, excluded=data.excluded)
    found = []
    kept: dict[str, Any] = {"excluded": data.excluded, "corrupt": data.corrupt}
    for part in cache_listings(splits, data.stored_size, data.cache_dir, **kept):
        images, rows = np.load(part.packed.images, mmap_mode="r"), part.rows
        names = [part.packed.listing.names[row] for row in rows]
        found.append(_Part(names, part.labels.tolist(), partial(_taken, images, rows)))
    return found


def _taken(images: np.ndarray, rows: Int64[np.ndarray, " m"], some: Sequence[int]) -> UInt8[Tensor, "n 3 s s"]:
    return torch.from_numpy(images[rows[list(some)]])


def vectors(images: UInt8[Tensor, "n 3 s s"], size: int, *, colour: bool) -> Float32[Tensor, "n values"]:
    """Images as vectors whose products are their correlations: scaled, less each channel's mean, of unit norm.

    A flat image is the zero vector, also where its channels differ: its colour is no structure.
    """
    scaled = F.interpolate(images.float(), (size, size), mode="bilinear", antialias=True)
    if not colour:
        scaled = (scaled * torch.tensor(_GREY)[:, None, None]).sum(1, keepdim=True)
    centred = (scaled - scaled.mean((2, 3), keepdim=True)).flatten(1)
    spread = centred.square().mean(1, keepdim=True).sqrt()
    return torch.where(spread < FLAT, 0.0, centred / centred.norm(dim=1, keepdim=True).clamp(min=1e-6))


def duplicates(images: ImageSet, others: ImageSet | None, rule: Rule) -> list[Pair]:
    """Pairs of the same image, most alike first; `others` None looks for them within the one set."""
    first = _thumbnails(images, rule.small_size)
    second = None if others is None else _thumbnails(others, rule.small_size)
    pairs = candidates(first, second, rule.small_threshold, rule.block)
    found = []
    with tqdm(total=len(pairs), desc="second look", unit="pair", disable=None) as bar:
        for some in pairs.split(_PAIRS_AT_ONCE):
            small = _products(first, first if second is None else second, some)
            large = _products(*_large(images, others or images, some, rule.large_size))
            for pair, one, other in zip(some.tolist(), small.tolist(), large.tolist(), strict=True):
                if other >= rule.large_threshold:
                    found.append(Pair(pair[0], pair[1], one, other))
            bar.update(len(some))
    return sorted(found, key=lambda pair: (-pair.large, pair.image, pair.other))


def candidates(
    first: Float32[Tensor, "n values"], second: Float32[Tensor, "m values"] | None, threshold: float, block: int
) -> Int64[Tensor, "pairs 2"]:
    """Pairs of rows whose product reaches the threshold, whatever the block; within one set each pair once."""
    theirs = first if second is None else second
    found = [torch.empty(0, 2, dtype=torch.long)]
    with tqdm(total=len(first) * len(theirs), desc="first look", unit="pair", unit_scale=True, disable=None) as bar:
        for top, left in _corners(len(first), len(theirs), block):
            rows, columns = first[top : top + block], theirs[left : left + block]
            bar.update(len(rows) * len(columns))
            if second is None and left + block <= top:
                continue
            near = (rows @ columns.T >= threshold - _SLACK).nonzero() + torch.tensor([top, left])
            near = near[near[:, 0] < near[:, 1]] if second is None else near
            found.append(near[_products(first, theirs, near) >= threshold])
    pairs = torch.cat(found)
    return pairs[(pairs[:, 0] * len(theirs) + pairs[:, 1]).argsort()]


def to_drop(pairs: Sequence[Pair], *, within: bool) -> list[int]:
    """Images to leave out, so that no pair is left; within one set the earlier image of a pair stays."""
    dropped: set[int] = set()
    if not within:
        return sorted({pair.image for pair in pairs})
    for _, image, other in sorted((pair.other, pair.image, pair.other) for pair in pairs):
        if image not in dropped:
            dropped.add(other)
    return sorted(dropped)


def _corners(rows: int, columns: int, block: int) -> Iterator[tuple[int, int]]:
    return ((top, left) for top in range(0, rows, block) for left in range(0, columns, block))


def _products(
    first: Float32[Tensor, "n values"], second: Float32[Tensor, "m values"], pairs: Int64[Tensor, "pairs 2"]
) -> Float[Tensor, " pairs"]:
    """In double precision and pair by pair, so that a pair's number is the same in any company."""
    parts = [(first[some[:, 0]].double() * second[some[:, 1]].double()).sum(1) for some in pairs.split(_PAIRS_AT_ONCE)]
    return torch.cat(parts) if parts else torch.empty(0, dtype=torch.float64)


def _thumbnails(images: ImageSet, size: int) -> Float32[Tensor, "n values"]:
    made = [torch.empty(0, size * size)]
    with tqdm(total=len(images.names), desc="thumbnails", unit="img", disable=None) as bar:
        for start in range(0, len(images.names), _ROWS_AT_ONCE):
            rows = range(start, min(start + _ROWS_AT_ONCE, len(images.names)))
            made.append(vectors(images.stored(rows), size, colour=False))
            bar.update(len(rows))
    return torch.cat(made)


def _large(
    images: ImageSet, others: ImageSet, pairs: Int64[Tensor, "pairs 2"], size: int
) -> tuple[Float32[Tensor, "n values"], Float32[Tensor, "m values"], Int64[Tensor, "pairs 2"]]:
    """The larger vectors of the images in some pairs, and the pairs as rows of these."""
    made, rows = [], []
    for side, one in enumerate((images, others)):
        wanted, places = pairs[:, side].unique(return_inverse=True)
        parts = [vectors(one.stored(some.tolist()), size, colour=True) for some in wanted.split(_ROWS_AT_ONCE)]
        made.append(torch.cat(parts))
        rows.append(places)
    return made[0], made[1], torch.stack(rows, 1)
