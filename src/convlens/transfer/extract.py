"""Features of a data set: extracted once, kept on disk, continued after an interruption, by one process or several."""

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from convlens.errors import InputError
from convlens.transfer.feature_store import FeatureStore
from convlens.transfer.features import feature_batches


def extract_to(
    store: FeatureStore,
    net: nn.Module,
    batches: Callable[[int], Iterable[Tensor]],
    layers: Sequence[str],
    *,
    cells: int | None,
    pooling: str,
    step: Callable[[int], Any] = lambda count: None,
) -> int:
    """Extract what is missing of some layers, all of them in one pass, and tell how many images that were.

    Args:
        store: where they are kept.
        net: the network.
        batches: gives the batches of images from a number on.
        layers: names of layers.
        cells: see ``extract_features``.
        pooling: see ``extract_features``.
        step: told, as the work goes on, how many images are done.

    Raises:
        InputError: as ``feature_batches``, or the batches end too early.
    """
    if not store.missing(layers):
        return 0
    with store.alone():
        missing = store.missing(layers)  # another may have extracted them meanwhile
        if not missing:
            return 0
        first = start = min(store.done(layer) for layer in missing)
        for features in feature_batches(net, batches(start), missing, cells=cells, pooling=pooling):
            count = len(next(iter(features.values())))
            store.put(start, features)
            start += count
            step(count)
    if start < store.count:
        raise InputError(f"{start} of {store.count} images came: the data set changed meanwhile, begin anew")
    return start - first


def extract_together(
    store: FeatureStore,
    net: nn.Module,
    batches: Callable[[int], Iterable[Tensor]],
    layers: Sequence[str],
    process: tuple[int, int],
    together: Callable[[], None],
    **settings: Any,
) -> int:
    """As ``extract_to``, by several processes: each a block of the images, which the first then joins.

    Args:
        store: where the first process keeps them all.
        net: the network, on the device of this process.
        batches: gives the batches of images from a number on.
        layers: names of layers.
        process: number of this process, and how many there are.
        together: waits for all of them.
        settings: of ``extract_to``.
    """
    rank, count = process
    if count == 1 or not store.missing(layers):
        return extract_to(store, net, batches, layers, **settings)
    with store.alone() if rank == 0 else nullcontext():
        together()
        store.refresh()
        return _extract_parts(store, net, batches, store.missing(layers), process, together, **settings)


def _extract_parts(
    store: FeatureStore,
    net: nn.Module,
    batches: Callable[[int], Iterable[Tensor]],
    missing: Sequence[str],
    process: tuple[int, int],
    together: Callable[[], None],
    **settings: Any,
) -> int:
    if not missing:
        return 0
    rank, count = process
    bounds = [store.count * part // count for part in range(count + 1)]
    parts = [
        FeatureStore(store.folder / f"part_{part}_of_{count}", {**store.about, "from": low, "to": high}, high - low)
        for part, (low, high) in enumerate(pairwise(bounds))
    ]
    low, high = bounds[rank : rank + 2]
    done = extract_to(parts[rank], net, lambda at: until(batches(low + at), high - low - at), missing, **settings)
    together()
    if rank == 0:
        for start, part in zip(bounds, parts, strict=False):
            own = FeatureStore(part.folder, part.about, part.count)  # as its process left it
            store.put(start, {layer: own.read(layer) for layer in missing})
        for part in parts:
            shutil.rmtree(part.folder)
    together()
    return done


def until(batches: Iterable[Tensor], count: int) -> Iterator[Tensor]:
    """The first ``count`` images."""
    for batch in batches:
        yield batch[:count]
        count -= len(batch)
        if count <= 0:
            return
