"""Features of a data set: extracted once, kept on disk, continued after an interruption."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import Tensor, nn

from convlens.errors import InputError
from convlens.transfer.features import feature_batches
from convlens.transfer.store import FeatureStore


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
    missing = [layer for layer in layers if store.done(layer) < store.count]
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
