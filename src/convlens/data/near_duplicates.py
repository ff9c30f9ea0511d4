"""Near-duplicate images within a data set or between two, found by normalized correlation (Sec. 6).

The paper gives neither size, channels nor threshold. Here a first pass compares small grey thumbnails, all pairs, by
matrix products; pairs above a low threshold are compared again, larger and in colour.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64, UInt8
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from convlens.data.cache.split_rows import cache_indexes, source_splits
from convlens.data.datamodule import ImageData
from convlens.errors import InputError

FLAT = 1.0
"""Standard deviation in grey levels below which an image is noise only and matches no other."""
_GREY = (0.299, 0.587, 0.114)
_ROUNDING = 1e-4  # above the rounding differences between matrix products of different shapes
_ROWS_PER_CHUNK = 256
_PAIRS_PER_CHUNK = 1024


class ImageSet(NamedTuple):
    """Images to compare.

    Attributes:
        names: name of each image.
        classes: class name of each image.
        read_pixels: returns the squares of some images as bytes.
    """

    names: Sequence[str]
    classes: Sequence[str]
    read_pixels: Callable[[Sequence[int]], UInt8[Tensor, "n 3 s s"]]


class DuplicatePair(NamedTuple):
    """An image of one set and one of the other, or of the same, with their correlations at both sizes."""

    image: int
    other: int
    small: float
    large: float


@dataclass(frozen=True)
class MatchCriteria:
    """Criteria for two images to be the same.

    Attributes:
        small_size: side of the grey thumbnails of the first pass, in pixels.
        small_threshold: smallest correlation of thumbnails.
        large_size: side of the coloured squares of the second pass, in pixels.
        large_threshold: smallest correlation of coloured squares.
        block_size: images in a block of the first pass, which holds block_size x block_size numbers.

    Raises:
        InputError: a value is out of range.
    """

    small_size: int = 16
    small_threshold: float = 0.93
    large_size: int = 64
    large_threshold: float = 0.97
    block_size: int = 2048

    def __post_init__(self) -> None:
        if min(self.small_size, self.large_size) < 2 or self.block_size < 1:
            raise InputError(
                f"sizes {self.small_size} and {self.large_size} px, block_size {self.block_size}: "
                "give at least 2 px and 1 image"
            )
        for threshold in (self.small_threshold, self.large_threshold):
            if not 0 < threshold <= 1:
                raise InputError(f"a correlation of {threshold} is out of range: give a threshold above 0 and up to 1")


class _Part(NamedTuple):
    """Some of the images of a set."""

    names: Sequence[str]
    labels: Sequence[int]
    read_pixels: Callable[[Sequence[int]], UInt8[Tensor, "n 3 s s"]]


def image_set(data: ImageData, splits: Sequence[str] | None = None) -> ImageSet:
    """Return the images of some splits, one split after the other.

    Args:
        data: the data.
        splits: names of splits; None takes all images of the source, in a split or not, or with ``data.limit`` those of
            the three splits.
    """
    if splits is None and data.limit is None:
        parts = _all_images(data)
    else:
        parts = [_split_part(data, split) for split in splits or ("train", "val", "test")]
    places = [(part, row) for part, one in enumerate(parts) for row in range(len(one.names))]
    classes = [data.class_names[label] if label >= 0 else "" for one in parts for label in one.labels]

    def read_pixels(indices: Sequence[int]) -> UInt8[Tensor, "n 3 s s"]:
        found = [(position, *places[index]) for position, index in enumerate(indices)]
        images = torch.empty(len(found), 3, data.stored_size, data.stored_size, dtype=torch.uint8)
        for part, one in enumerate(parts):
            inside = [(position, row) for position, owner, row in found if owner == part]
            if inside:
                images[[position for position, _ in inside]] = one.read_pixels([row for _, row in inside])
        return images

    return ImageSet([name for one in parts for name in one.names], classes, read_pixels)


def _split_part(data: ImageData, split: str) -> _Part:
    dataset = data.dataset(split)
    return _Part(data.cached_split(split).names, dataset.labels.tolist(), dataset.read_pixels)


def _all_images(data: ImageData) -> list[_Part]:
    """Return all images of the indexes that the splits are drawn from."""
    splits = source_splits(data.source, resize_mode=data.resize_mode, excluded=data.excluded)
    size, folder = data.stored_size, data.cache_dir
    parts = cache_indexes(splits, size, folder, excluded=data.excluded, on_corrupt=data.on_corrupt)
    mapped = [np.load(part.cache.pixels_path, mmap_mode="r") for part in parts]
    return [
        _Part(part.names, part.labels.tolist(), partial(_read_rows, images, part.rows))
        for part, images in zip(parts, mapped, strict=True)
    ]


def _read_rows(images: np.ndarray, rows: Int64[np.ndarray, " m"], indices: Sequence[int]) -> UInt8[Tensor, "n 3 s s"]:
    return torch.from_numpy(images[rows[list(indices)]])


def vectors(images: UInt8[Tensor, "n 3 s s"], size: int, *, colour: bool) -> Float32[Tensor, "n values"]:
    """Convert images to vectors of unit norm whose dot products are correlations.

    A flat image becomes the zero vector, also if its channels differ.

    Args:
        images: the images as bytes.
        size: side to which they are scaled, in pixels.
        colour: whether to keep the three channels, of each of which the mean is subtracted, or to use grey.
    """
    scaled = F.interpolate(images.float(), (size, size), mode="bilinear", antialias=True)
    if not colour:
        scaled = (scaled * torch.tensor(_GREY)[:, None, None]).sum(1, keepdim=True)
    centred = (scaled - scaled.mean((2, 3), keepdim=True)).flatten(1)
    spread = centred.square().mean(1, keepdim=True).sqrt()
    return torch.where(spread < FLAT, 0.0, centred / centred.norm(dim=1, keepdim=True).clamp(min=1e-6))


def find_duplicates(images: ImageSet, others: ImageSet | None, criteria: MatchCriteria) -> list[DuplicatePair]:
    """Find pairs of the same image, most similar first.

    Args:
        images: the images.
        others: the other set; None searches within the one set.
        criteria: which pairs count.
    """
    first = _thumbnails(images, criteria.small_size)
    second = None if others is None else _thumbnails(others, criteria.small_size)
    pairs = candidate_pairs(first, second, criteria.small_threshold, criteria.block_size)
    found = []
    with tqdm(total=len(pairs), desc="second pass", unit="pair", disable=None) as bar:
        for some in pairs.split(_PAIRS_PER_CHUNK):
            small = _correlations(first, first if second is None else second, some)
            large = _correlations(*_second_pass_vectors(images, others or images, some, criteria.large_size))
            for pair, one, other in zip(some.tolist(), small.tolist(), large.tolist(), strict=True):
                if other >= criteria.large_threshold:
                    found.append(DuplicatePair(pair[0], pair[1], one, other))
            bar.update(len(some))
    return sorted(found, key=lambda pair: (-pair.large, pair.image, pair.other))


def candidate_pairs(
    first: Float32[Tensor, "n values"], second: Float32[Tensor, "m values"] | None, threshold: float, block: int
) -> Int64[Tensor, "pairs 2"]:
    """Return pairs of rows whose dot product reaches the threshold; within one set each pair once.

    The result does not depend on ``block``, the number of rows of each matrix product.
    """
    columns_of = first if second is None else second
    found = [torch.empty(0, 2, dtype=torch.long)]
    with tqdm(total=len(first) * len(columns_of), desc="first pass", unit="pair", unit_scale=True, disable=None) as bar:
        for top, left in _block_corners(len(first), len(columns_of), block):
            rows, columns = first[top : top + block], columns_of[left : left + block]
            bar.update(len(rows) * len(columns))
            if second is None and left + block <= top:
                continue
            near = (rows @ columns.T >= threshold - _ROUNDING).nonzero() + torch.tensor([top, left])
            near = near[near[:, 0] < near[:, 1]] if second is None else near
            found.append(near[_correlations(first, columns_of, near) >= threshold])
    pairs = torch.cat(found)
    return pairs[(pairs[:, 0] * len(columns_of) + pairs[:, 1]).argsort()]


def images_to_drop(pairs: Sequence[DuplicatePair], *, within: bool) -> list[int]:
    """Return the images to leave out so that no pair remains; within one set the earlier image of a pair stays."""
    dropped: set[int] = set()
    if not within:
        return sorted({pair.image for pair in pairs})
    for _, image, other in sorted((pair.other, pair.image, pair.other) for pair in pairs):
        if image not in dropped:
            dropped.add(other)
    return sorted(dropped)


def _block_corners(rows: int, columns: int, block: int) -> Iterator[tuple[int, int]]:
    return ((top, left) for top in range(0, rows, block) for left in range(0, columns, block))


def _correlations(
    first: Float32[Tensor, "n values"], second: Float32[Tensor, "m values"], pairs: Int64[Tensor, "pairs 2"]
) -> Float[Tensor, " pairs"]:
    """Compute dot products in double precision and pair by pair, so that other pairs do not change a pair's number."""
    parts = [
        (first[some[:, 0]].double() * second[some[:, 1]].double()).sum(1) for some in pairs.split(_PAIRS_PER_CHUNK)
    ]
    return torch.cat(parts) if parts else torch.empty(0, dtype=torch.float64)


def _thumbnails(images: ImageSet, size: int) -> Float32[Tensor, "n values"]:
    chunks = [torch.empty(0, size * size)]
    with tqdm(total=len(images.names), desc="thumbnails", unit="img", disable=None) as bar:
        for start in range(0, len(images.names), _ROWS_PER_CHUNK):
            rows = range(start, min(start + _ROWS_PER_CHUNK, len(images.names)))
            chunks.append(vectors(images.read_pixels(rows), size, colour=False))
            bar.update(len(rows))
    return torch.cat(chunks)


def _second_pass_vectors(
    images: ImageSet, others: ImageSet, pairs: Int64[Tensor, "pairs 2"], size: int
) -> tuple[Float32[Tensor, "n values"], Float32[Tensor, "m values"], Int64[Tensor, "pairs 2"]]:
    """Return the larger vectors of the images in some pairs, and the pairs as rows of these."""
    values, rows = [], []
    for side, one in enumerate((images, others)):
        unique, positions = pairs[:, side].unique(return_inverse=True)
        parts = [vectors(one.read_pixels(some.tolist()), size, colour=True) for some in unique.split(_ROWS_PER_CHUNK)]
        values.append(torch.cat(parts))
        rows.append(positions)
    return values[0], values[1], torch.stack(rows, 1)
