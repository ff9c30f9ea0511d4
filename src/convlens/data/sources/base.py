"""Base class of the sources of images, and helpers to index image files."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from convlens.data.download.catalog import Archive, download_archives
from convlens.data.splits.folds import fixed_split
from convlens.data.splits.image_index import FileIndex
from convlens.data.splits.protocol import Protocol
from convlens.data.splits.split import Split
from convlens.errors import InputError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")


class Source(ABC):
    """A data set on disk, or a generated one: names its classes and images, without decoding any.

    Attributes:
        root: folder of the data set.
        archives: public archives of the data set; empty if it cannot be downloaded.
    """

    root: Path
    archives: tuple[Archive, ...] = ()

    def download(self) -> None:
        """Download the data set if it is missing; does nothing for one without public archives."""
        if self.archives:
            download_archives(self.root, self.archives)

    @abstractmethod
    def class_names(self) -> tuple[str, ...]:
        """Return the names of the classes in the order of the labels."""

    @abstractmethod
    def split(self, name: str) -> Split | None:
        """Return the split ``train``, ``val`` or ``test``.

        Returns:
            The split; None for a ``val`` that the data set does not define, which is then held out from ``train``.

        Raises:
            InputError: the data set is missing or has another layout.
        """

    def protocol(self) -> Protocol:
        """Return the training and test images of classifiers on fixed features: by default the two splits.

        Raises:
            InputError: the data set has no training or no test images, or one class only.
        """
        train, test = self.split("train"), self.split("test")
        if train is None or test is None:
            raise missing_splits_error(self)
        return fixed_split(train, test, self.class_names())


def missing_splits_error(source: Source) -> InputError:
    """Return the error for a source without training or test images."""
    return InputError(f"{type(source).__name__} has no training or no test images: a source needs both")


def subfolders(folder: Path) -> list[str]:
    """Return the sorted names of the folders in a folder, without hidden ones; empty if there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))


def image_files(folder: Path, *, nested: bool = True) -> Iterator[Path]:
    """Yield the image files of a folder, and with ``nested`` of those below it, sorted and without hidden ones.

    A folder that is called as an image and holds none counts as a file, which cannot be read.
    """
    for parent, folders, files in os.walk(folder):
        images = [name for name in files if _is_image_name(name)]
        images += [name for name in folders if _is_image_name(name) and not any(image_files(Path(parent, name)))]
        folders[:] = sorted(name for name in folders if nested and not name.startswith("."))
        for name in sorted(images):
            yield Path(parent, name)


def _is_image_name(name: str) -> bool:
    return name.lower().endswith(EXTENSIONS) and not name.startswith(".")


def index_class_folders(
    title: str, root: Path, below: str, classes: tuple[str, ...], *, nested: bool = True
) -> FileIndex:
    """Index the images of ``root/below/<class>/`` for each class that has a folder there.

    Args:
        title: name of the data set.
        root: folder of the data set.
        below: path from the root to the class folders.
        classes: names of the class folders in the order of the labels.
        nested: include folders below a class folder.

    Raises:
        InputError: a class folder holds no image.
    """
    pairs: list[tuple[Path, int]] = []
    empty: list[str] = []
    for label, name in enumerate(classes):
        folder = root / below / name
        files = list(image_files(folder, nested=nested))
        pairs += [(path, label) for path in files]
        empty += [name] if folder.is_dir() and not files else []
    if empty:
        raise InputError(f"class folders without an image in {root / below}: {join_names(empty)}; fill or remove them")
    return index_files(title, root, pairs)


def check_class_folders(folder: Path, classes: tuple[str, ...]) -> None:
    """Check that every class folder is a class of the training images.

    Raises:
        InputError: a folder in ``folder`` belongs to no class.
    """
    if unknown := sorted(set(subfolders(folder)) - set(classes)):
        raise InputError(
            f"{folder} has folders that are no class of the training images: {join_names(unknown)}; "
            f"the classes are {join_names(classes)}"
        )


def index_files(title: str, root: Path, pairs: Iterable[tuple[Path, int]]) -> FileIndex:
    """Index (file, label) pairs, sorted by name."""
    named = sorted((path.relative_to(root).as_posix(), label) for path, label in pairs)
    labels = np.array([label for _, label in named], np.int64)
    return FileIndex(title, [name for name, _ in named], labels, root)


def whole_split(image_index: FileIndex) -> Split:
    """Return the split that holds all images of an index."""
    return Split(image_index, np.arange(len(image_index)))


def missing_data_error(title: str, path: Path, layout: str, origin: str, *, downloadable: bool = False) -> InputError:
    """Return the error for a data set, or a part of one, that is missing."""
    how = "; data.download=true downloads it" if downloadable else ""
    return InputError(f"{title}: {path} is missing or empty; get it from {origin} and lay it out as {layout}{how}")


def join_names(names: Iterable[str], max_names: int = 5) -> str:
    """Join the first names with commas and count the rest, as in ``a, b and 3 more``."""
    names = list(names)
    more = f" and {len(names) - max_names} more" if len(names) > max_names else ""
    return ", ".join(names[:max_names]) + more
