"""Splits of an image index and their order, as functions of names and labels alone."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int64

from convlens.data.splits.image_index import ImageIndex
from convlens.io.hashing import hash_to_int


class Split(NamedTuple):
    """Rows of an image index; splits of the same pool share the index, and so the cache."""

    image_index: ImageIndex
    rows: Int64[np.ndarray, " n"]


def rank_in_class(names: Sequence[str], labels: Int64[np.ndarray, " n"], salt: str) -> Int64[np.ndarray, " n"]:
    """Return the rank of each image (from 0) in a random order of its class, given by ``salt`` and the names."""
    keys = np.array([hash_to_int(f"{salt}/{name}") for name in names], np.uint64)
    order = np.lexsort((keys, labels))
    starts = np.searchsorted(labels[order], labels)
    ranks = np.empty(len(labels), np.int64)
    ranks[order] = np.arange(len(labels))
    return ranks - starts


def class_balanced(split: Split, salt: str) -> Split:
    """Return the split in an order in which every prefix is as balanced over the classes as possible."""
    labels = split.image_index.labels[split.rows]
    ranks = rank_in_class([split.image_index.names[row] for row in split.rows], labels, salt)
    return Split(split.image_index, split.rows[np.lexsort((labels, ranks))])


def held_out_mask(
    names: Sequence[str], labels: Int64[np.ndarray, " n"], share: float, salt: str
) -> Bool[np.ndarray, " n"]:
    """Return a mask of a random ``share`` of each class: at least one image, but never all of a class."""
    counts = np.bincount(labels)[labels]
    num_held = np.minimum(np.maximum(np.rint(share * counts), 1), counts - 1)
    return rank_in_class(names, labels, salt) < num_held


def split_per_class(split: Split, share: float, salt: str) -> tuple[Split, Split]:
    """Split into the rest and a random ``share`` of each class; with share 0 the second split is empty."""
    if share == 0:
        return split, Split(split.image_index, split.rows[:0])
    names = [split.image_index.names[row] for row in split.rows]
    held = held_out_mask(names, split.image_index.labels[split.rows], share, salt)
    return Split(split.image_index, split.rows[~held]), Split(split.image_index, split.rows[held])
