"""Extract features of a data set to disk, once, resumable, in one process or several."""

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import pairwise

from torch import Tensor, nn

from convlens.errors import InputError
from convlens.transfer.feature_store import FeatureStore
from convlens.transfer.features import feature_batches


def _no_progress(count: int) -> object:
    return None


@dataclass(frozen=True)
class Extraction:
    """Settings of an extraction of features.

    Attributes:
        net: the network, on the device of this process.
        batches: returns the batches of images from an index on.
        pool_size: see `extract_features`.
        pooling: see `extract_features`.
        on_progress: called with the number of images of each batch when it is done.
    """

    net: nn.Module
    batches: Callable[[int], Iterable[Tensor]]
    pool_size: int | None
    pooling: str
    on_progress: Callable[[int], object] = _no_progress


def extract_to(store: FeatureStore, layers: Sequence[str], extraction: Extraction) -> int:
    """Extract the missing features of some layers in one pass; return the number of images that were read.

    Args:
        store: features on disk.
        layers: names of layers.
        extraction: network, images and pooling.

    Raises:
        InputError: see `feature_batches`; or there are fewer images than the store expects.
    """
    if not store.missing(layers):
        return 0
    with store.lock():
        missing = store.missing(layers)  # another process may have extracted them meanwhile
        if not missing:
            return 0
        first = start = min(store.done(layer) for layer in missing)
        for features in feature_batches(
            extraction.net,
            extraction.batches(start),
            missing,
            pool_size=extraction.pool_size,
            pooling=extraction.pooling,
        ):
            count = len(next(iter(features.values())))
            store.put(start, features)
            start += count
            extraction.on_progress(count)
    if start < store.count:
        raise InputError(f"{start} of {store.count} images were read: the data set has changed, start anew")
    return start - first


def extract_distributed(
    store: FeatureStore,
    layers: Sequence[str],
    extraction: Extraction,
    *,
    rank: int,
    world_size: int,
    barrier: Callable[[], None],
) -> int:
    """Extract features with several processes, each a block of the images; rank 0 joins the blocks.

    Args:
        store: features on disk.
        layers: names of layers.
        extraction: network, images and pooling.
        rank: number of this process.
        world_size: number of processes.
        barrier: waits for all processes.

    Returns:
        The number of images that this process has read.
    """
    if world_size == 1 or not store.missing(layers):
        return extract_to(store, layers, extraction)
    with store.lock() if rank == 0 else nullcontext():
        barrier()
        store.refresh()
        missing = store.missing(layers)
        if not missing:
            return 0
        bounds = [store.count * part // world_size for part in range(world_size + 1)]
        parts = [_part(store, number, world_size, *block) for number, block in enumerate(pairwise(bounds))]
        low, high = bounds[rank : rank + 2]
        own = replace(extraction, batches=lambda at: take(extraction.batches(low + at), high - low - at))
        done = extract_to(parts[rank], missing, own)
        barrier()
        if rank == 0:
            _join(store, parts, bounds, missing)
        barrier()
    return done


def _part(store: FeatureStore, number: int, count: int, low: int, high: int) -> FeatureStore:
    """Return the store of one process's block of images."""
    about = {**store.about, "from": low, "to": high}
    return FeatureStore(store.folder / f"part_{number}_of_{count}", about, high - low)


def _join(store: FeatureStore, parts: Sequence[FeatureStore], bounds: Sequence[int], layers: Sequence[str]) -> None:
    """Copy the blocks of all processes to the store and remove them."""
    for start, part in zip(bounds, parts, strict=False):
        part.refresh()
        store.put(start, {layer: part.read(layer) for layer in layers})
    for part in parts:
        shutil.rmtree(part.folder)


def take(batches: Iterable[Tensor], count: int) -> Iterator[Tensor]:
    """Yield the first ``count`` images of batches."""
    for batch in batches:
        yield batch[:count]
        count -= len(batch)
        if count <= 0:
            return
