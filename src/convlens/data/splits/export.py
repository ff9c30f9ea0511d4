"""Who trains and who tests, as files that can be handed on."""

from collections.abc import Sequence
from pathlib import Path

from convlens.data.splits.protocol import Protocol
from convlens.errors import InputError
from convlens.io.atomic import write_bytes


def write_splits(
    protocol: Protocol, folder: Path, images_per_class: Sequence[int | None], folds: int
) -> list[tuple[int | None, int]]:
    """Writes who trains and who tests as lists that can be handed on, and says which (size, fold) pairs these are.

    Each is `<folder>/<size>_per_class/fold_<fold>/{train,test}.txt` (`all` for size None), a line `name<TAB>class` an
    image, the training images in order. Nothing is written unless all of it can be.

    Raises:
        InputError: As `Protocol.split`.
    """
    if folds < 1:
        raise InputError(f"folds is {folds}: give at least 1")
    pairs = [(size, fold) for size in images_per_class for fold in range(min(folds, protocol.folds(size) or folds))]
    splits = {pair: protocol.split(*pair) for pair in pairs}
    for (size, fold), rows in splits.items():
        below = folder / ("all" if size is None else f"{size}_per_class") / f"fold_{fold}"
        for name, chosen in zip(("train", "test"), rows, strict=True):
            lines = (f"{protocol.names[row]}\t{_class_of(protocol, row)}\n" for row in chosen.tolist())
            write_bytes(below / f"{name}.txt", "".join(lines).encode())
    return pairs


def _class_of(protocol: Protocol, row: int) -> str:
    """Name of the class of an image, empty where it has none."""
    label = protocol.labels[row]
    return protocol.class_names[label] if label >= 0 else ""
