"""The rows of cached images that make up each split of a source."""

import logging
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Int64

from convlens.data.cache.store import CachedArrays, cache_images
from convlens.data.decode import ResizeMode
from convlens.data.sources.base import Source, join_names, missing_splits_error
from convlens.data.sources.exclude import Exclusions
from convlens.data.splits.split import Split, class_balanced, split_per_class
from convlens.errors import InputError

log = logging.getLogger(__name__)
OnCorrupt = Literal["skip", "fatal"]
ON_CORRUPT: tuple[OnCorrupt, ...] = get_args(OnCorrupt)


class CachedSplit(NamedTuple):
    """Rows of a cache in the order of a split."""

    cache: CachedArrays
    rows: Int64[np.ndarray, " n"]

    @property
    def labels(self) -> Int64[np.ndarray, " n"]:
        """Class of each image of the split."""
        return self.cache.image_index.labels[self.rows]

    @property
    def names(self) -> list[str]:
        """Name of each image of the split."""
        return [self.cache.image_index.names[row] for row in self.rows]


def source_splits(source: Source, *, resize_mode: ResizeMode, excluded: Exclusions) -> dict[str, Split]:
    """Return the splits that a source defines, with one resize mode and without excluded images.

    Raises:
        InputError: the source has no training or no test images, or an excluded name is unknown.
    """
    found = {name: source.split(name) for name in ("train", "val", "test")}
    splits = {name: split for name, split in found.items() if split is not None}
    if not {"train", "test"} <= splits.keys():
        raise missing_splits_error(source)
    excluded.check_names(split.image_index for split in splits.values())
    # One object for each index: splits that share it share a cache.
    resized = {split.image_index: split.image_index.with_resize_mode(resize_mode) for split in splits.values()}
    return {name: excluded.remove_from(Split(resized[split.image_index], split.rows)) for name, split in splits.items()}


def select_rows(splits: dict[str, Split], *, val_share: float, seed: int, limit: int | None) -> dict[str, Split]:
    """Return the splits ``train``, ``val`` and ``test`` of at most ``limit`` images, each prefix balanced over classes.

    Only a ``val`` that is taken from the training images depends on the seed.
    """
    if "val" not in splits:
        train, val = split_per_class(splits["train"], val_share, f"val {seed}")
        splits = {**splits, "train": train, "val": val}
    ordered = {name: class_balanced(splits[name], name) for name in ("train", "val", "test")}
    return {name: Split(split.image_index, split.rows[:limit]) for name, split in ordered.items()}


def cache_splits(
    splits: dict[str, Split], size: int, cache_dir: Path, *, whole: bool, on_corrupt: OnCorrupt
) -> dict[str, CachedSplit]:
    """Cache each image index once and remove unreadable images from the splits.

    Args:
        splits: the splits by name.
        size: side of the stored squares in pixels.
        cache_dir: parent folder of all caches.
        whole: cache all images of an index; if False, only those that a split uses.
        on_corrupt: see ``ImageData``.

    Raises:
        InputError: an image is unreadable and ``on_corrupt`` is ``fatal``, or a split has no readable image.
    """
    cached: dict[str, CachedSplit] = {}
    for image_index in dict.fromkeys(split.image_index for split in splits.values()):
        sharing = {name: split.rows for name, split in splits.items() if split.image_index is image_index}
        used = np.arange(len(image_index)) if whole else np.unique(np.concatenate(list(sharing.values())))
        cache = cache_images(image_index if whole else image_index.take(used), size, cache_dir)
        handle_unreadable(cache, on_corrupt)
        for name, rows in sharing.items():
            cached[name] = CachedSplit(cache, cache.readable(np.searchsorted(used, rows)))
    for name, split in splits.items():
        if len(split.rows) and not len(cached[name].rows):
            raise InputError(f"none of the {len(split.rows)} {name} images of {split.image_index.title} can be read")
    return cached


def cache_indexes(
    splits: dict[str, Split], size: int, cache_dir: Path, *, excluded: Exclusions, on_corrupt: OnCorrupt
) -> list[CachedSplit]:
    """Cache all images of the splits' indexes, in a split or not, and return the readable ones of each index.

    Raises:
        InputError: an image is unreadable and ``on_corrupt`` is ``fatal``.
    """
    found = []
    for image_index in dict.fromkeys(split.image_index for split in splits.values()):
        cache = cache_images(image_index, size, cache_dir)
        handle_unreadable(cache, on_corrupt)
        rows = excluded.remove_from(Split(image_index, np.arange(len(image_index)))).rows
        found.append(CachedSplit(cache, cache.readable(rows)))
    return found


def check_all_classes(train: CachedSplit, class_names: tuple[str, ...]) -> None:
    """Check that every class has a training image.

    Raises:
        InputError: a class has no readable training image.
    """
    missing = sorted(set(range(len(class_names))) - set(train.labels.tolist()))
    if missing:
        names = join_names(class_names[label] for label in missing)
        title = train.cache.image_index.title
        raise InputError(f"no readable training image in {title} for {names}: add some, or remove the class")


def handle_unreadable(cache: CachedArrays, on_corrupt: OnCorrupt) -> None:
    """Log the unreadable images of a cache, or refuse them.

    Raises:
        InputError: there are some and ``on_corrupt`` is ``fatal``.
    """
    if not cache.unreadable:
        return
    index = cache.image_index
    names = join_names(f"{index.names[row]} ({reason})" for row, reason in cache.unreadable.items())
    message = f"{len(cache.unreadable)} of {len(index)} images of {index.title} are unreadable: {names}"
    if on_corrupt == "fatal":
        raise InputError(f"{message}; repair or remove them, or set data.on_corrupt=skip")
    log.warning("%s; they are left out and listed in %s", message, cache.folder / "meta.json")


def concat_splits(splits: dict[str, CachedSplit]) -> CachedSplit:
    """Return all splits as one, in their order.

    Raises:
        InputError: their images lie in different caches.
    """
    caches = {id(split.cache): split.cache for split in splits.values()}
    if len(caches) > 1:
        raise InputError(
            f"split=all needs splits of one source, these come from {len(caches)}: choose one of {', '.join(splits)}"
        )
    return CachedSplit(next(iter(caches.values())), np.concatenate([split.rows for split in splits.values()]))
