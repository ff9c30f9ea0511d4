"""Export of the training and test images of a protocol as text files."""

from collections.abc import Sequence
from pathlib import Path

from convlens.data.splits.protocol import Protocol
from convlens.errors import InputError
from convlens.io.atomic import write_bytes
from convlens.io.names import name_bytes


def write_splits(
    protocol: Protocol, folder: Path, images_per_class: Sequence[int | None], folds: int
) -> list[tuple[int | None, int]]:
    """Write the training and test images of a protocol as text files.

    The files are ``<folder>/<size>_per_class/fold_<fold>/{train,test}.txt`` (``all`` for size None) with a line
    ``name<TAB>class`` for each image, the training images in the protocol's order. Nothing is written if any split
    fails.

    Args:
        protocol: the protocol.
        folder: parent folder of the files.
        images_per_class: numbers of training images per class; None is all that the data set provides.
        folds: number of folds of each size, at most as many as the protocol has.

    Returns:
        The (size, fold) pairs that were written.

    Raises:
        InputError: ``folds`` is below 1, or as in ``Protocol.split``.
    """
    if folds < 1:
        raise InputError(f"folds is {folds}: give at least 1")
    pairs = [(size, fold) for size in images_per_class for fold in range(min(folds, protocol.folds(size) or folds))]
    splits = {pair: protocol.split(*pair) for pair in pairs}
    for (size, fold), rows in splits.items():
        below = folder / ("all" if size is None else f"{size}_per_class") / f"fold_{fold}"
        for name, chosen in zip(("train", "test"), rows, strict=True):
            lines = (f"{protocol.names[row]}\t{_class_of(protocol, row)}\n" for row in chosen.tolist())
            write_bytes(below / f"{name}.txt", name_bytes("".join(lines)))
    return pairs


def _class_of(protocol: Protocol, row: int) -> str:
    """Return the name of an image's class, empty if it has none."""
    label = protocol.labels[row]
    return protocol.class_names[label] if label >= 0 else ""
