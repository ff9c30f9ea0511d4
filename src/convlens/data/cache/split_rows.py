"""From a source to the rows of packed images that make up each split."""

import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from convlens.data.cache.store import CachedArrays, pack
from convlens.data.sources.base import Source, listed, untested
from convlens.data.sources.exclude import Excluded
from convlens.data.splits.split import Split, balanced, share_out
from convlens.errors import InputError

log = logging.getLogger(__name__)


class CachedSplit(NamedTuple):
    """Rows of a cache, in the order of the split."""

    packed: CachedArrays
    rows: Int64[np.ndarray, " n"]

    @property
    def labels(self) -> Int64[np.ndarray, " n"]:
        """Class of each image of the split."""
        return self.packed.listing.labels[self.rows]


def own_splits(source: Source, *, fit: str, excluded: Excluded) -> dict[str, Split]:
    """The splits that a source has, fitted into squares in one way and without what is excluded.

    Raises:
        InputError: The source has no training or no test images, or none of an excluded name.
    """
    found = {name: source.split(name) for name in ("train", "val", "test")}
    splits = {name: split for name, split in found.items() if split is not None}
    if not {"train", "test"} <= splits.keys():
        raise untested(source)
    excluded.check_known(split.listing for split in splits.values())
    # One object for each listing: splits share a cache if they share this.
    fitted = {split.listing: split.listing.fitted(fit) for split in splits.values()}
    return {name: excluded.removed(Split(fitted[split.listing], split.rows)) for name, split in splits.items()}


def choose_rows(splits: dict[str, Split], *, val_share: float, seed: int, limit: int | None) -> dict[str, Split]:
    """The splits `train`, `val` and `test`, at most `limit` images each, every beginning spread over the classes.

    Only `val`, where it is taken from the training images, depends on the seed.
    """
    if "val" not in splits:
        train, val = share_out(splits["train"], val_share, f"val {seed}")
        splits = {**splits, "train": train, "val": val}
    ordered = {name: balanced(splits[name], name) for name in ("train", "val", "test")}
    return {name: Split(split.listing, split.rows[:limit]) for name, split in ordered.items()}


def cache_splits(
    splits: dict[str, Split], size: int, cache_dir: Path, *, whole: bool, corrupt: str
) -> dict[str, CachedSplit]:
    """Packs each listing once, `whole` or only the rows that a split has, and leaves out what cannot be read.

    Raises:
        InputError: An image is unreadable and `corrupt` is `fatal`, or a split has no readable image.
    """
    packed: dict[str, CachedSplit] = {}
    for listing in dict.fromkeys(split.listing for split in splits.values()):
        sharing = {name: split.rows for name, split in splits.items() if split.listing is listing}
        used = np.arange(len(listing)) if whole else np.unique(np.concatenate(list(sharing.values())))
        cache = pack(listing if whole else listing.take(used), size, cache_dir)
        report_unreadable(cache, corrupt)
        for name, rows in sharing.items():
            packed[name] = CachedSplit(cache, cache.usable(np.searchsorted(used, rows)))
    for name, split in splits.items():
        if len(split.rows) and not len(packed[name].rows):
            raise InputError(f"none of the {len(split.rows)} {name} images of {split.listing.title} can be read")
    return packed


def cache_listings(
    splits: dict[str, Split], size: int, cache_dir: Path, *, excluded: Excluded, corrupt: str
) -> list[CachedSplit]:
    """All images of the listings that splits are drawn from, also those that no split has; without unreadable ones.

    Raises:
        InputError: An image is unreadable and `corrupt` is `fatal`.
    """
    found = []
    for listing in dict.fromkeys(split.listing for split in splits.values()):
        cache = pack(listing, size, cache_dir)
        report_unreadable(cache, corrupt)
        rows = excluded.removed(Split(listing, np.arange(len(listing)))).rows
        found.append(CachedSplit(cache, cache.usable(rows)))
    return found


def check_training_classes(train: CachedSplit, class_names: tuple[str, ...]) -> None:
    """Sees to it that every class can be learnt.

    Raises:
        InputError: A class has no training image that can be read.
    """
    missing = sorted(set(range(len(class_names))) - set(train.labels.tolist()))
    if missing:
        names = listed(class_names[label] for label in missing)
        raise InputError(
            f"no readable training image in {train.packed.listing.title} for {names}: add some, or take the class out"
        )


def report_unreadable(cache: CachedArrays, corrupt: str) -> None:
    """Names and counts the unreadable images.

    Raises:
        InputError: There are some and `corrupt` is `fatal`.
    """
    if not cache.unreadable:
        return
    names = listed(f"{cache.listing.names[row]} ({reason})" for row, reason in cache.unreadable.items())
    what = f"{len(cache.unreadable)} of {len(cache.listing)} images of {cache.listing.title} are unreadable: {names}"
    if corrupt == "fatal":
        raise InputError(f"{what}; mend or remove them, or set data.corrupt=skip")
    log.warning("%s; left out, all of them are in %s", what, cache.folder / "meta.json")


def together(splits: dict[str, CachedSplit]) -> CachedSplit:
    """All splits as one, in their order.

    Raises:
        InputError: their images lie in different caches.
    """
    caches = {id(split.packed): split.packed for split in splits.values()}
    if len(caches) > 1:
        raise InputError(f"split=all: the splits come from {len(caches)} sources: choose one of {', '.join(splits)}")
    return CachedSplit(next(iter(caches.values())), np.concatenate([split.rows for split in splits.values()]))
