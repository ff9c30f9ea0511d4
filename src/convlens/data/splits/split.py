"""Which images belong to which split, and in what order: functions of names and labels, not of the file system."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int64

from convlens.data.splits.image_index import Listing


class Split(NamedTuple):
    """Rows of a listing. Splits that are drawn from one pool share the listing, and so the cache."""

    listing: Listing
    rows: Int64[np.ndarray, " n"]


def rank_in_class(names: Sequence[str], labels: Int64[np.ndarray, " n"], salt: str) -> Int64[np.ndarray, " n"]:
    """Place of each image (from 0) in a random order of its class, which follows from `salt` and the names alone."""
    keys = np.array([_hash(f"{salt}/{name}") for name in names], np.uint64)
    order = np.lexsort((keys, labels))
    starts = np.searchsorted(labels[order], labels)
    ranks = np.empty(len(labels), np.int64)
    ranks[order] = np.arange(len(labels))
    return ranks - starts


def balanced(split: Split, salt: str) -> Split:
    """The split in an order of which every beginning holds as much of each class as it can."""
    labels = split.listing.labels[split.rows]
    ranks = rank_in_class([split.listing.names[row] for row in split.rows], labels, salt)
    return Split(split.listing, split.rows[np.lexsort((labels, ranks))])


def held_out(names: Sequence[str], labels: Int64[np.ndarray, " n"], share: float, salt: str) -> Bool[np.ndarray, " n"]:
    """Marks a random `share` of each class, at least one image, but never all of a class."""
    counts = np.bincount(labels)[labels]
    wanted = np.minimum(np.maximum(np.rint(share * counts), 1), counts - 1)
    return rank_in_class(names, labels, salt) < wanted


def share_out(split: Split, share: float, salt: str) -> tuple[Split, Split]:
    """Two splits: what is kept, and a random `share` of each class; with share 0 the second is empty."""
    if share == 0:
        return split, Split(split.listing, split.rows[:0])
    names = [split.listing.names[row] for row in split.rows]
    held = held_out(names, split.listing.labels[split.rows], share, salt)
    return Split(split.listing, split.rows[~held]), Split(split.listing, split.rows[held])


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")
