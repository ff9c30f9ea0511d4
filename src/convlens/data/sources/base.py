"""What every source of images can do, and the words for a data set that is not where it should be."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from convlens.data.download.catalog import Archive, provide
from convlens.data.splits.image_index import FileListing
from convlens.data.splits.protocol import Protocol, fixed_split
from convlens.data.splits.split import Split
from convlens.errors import InputError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")


class Source(ABC):
    """A data set on disk, or one that is made up: it names classes and images, and decodes nothing."""

    root: Path
    archives: tuple[Archive, ...] = ()
    """Of a data set that anybody may fetch."""

    def provide(self) -> None:
        """Fetches the data set if it is not there; does nothing for one that cannot be fetched."""
        if self.archives:
            provide(self.root, self.archives)

    @abstractmethod
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes in the order of the labels; cheap."""

    @abstractmethod
    def split(self, name: str) -> Split | None:
        """The split `train`, `val` or `test`.

        None for `val` where the data set has none of its own, and a share of `train` is held out.

        Raises:
            InputError: The data set is missing, or is not laid out as it should be.
        """

    def protocol(self) -> Protocol:
        """Which images train and which test a classifier on fixed features: its own `train` and `test`.

        Raises:
            InputError: The data set has no training or no test images, or one class only.
        """
        train, test = self.split("train"), self.split("test")
        if train is None or test is None:
            raise untested(self)
        return fixed_split(train, test, self.class_names())


def untested(source: Source) -> InputError:
    """What to say of a source without training or test images."""
    return InputError(f"{type(source).__name__} has no training or no test images: a source needs both")


def subfolders(folder: Path) -> list[str]:
    """Names of the folders in a folder, sorted, without hidden ones; none where there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))


def image_files(folder: Path, *, nested: bool = True) -> Iterator[Path]:
    """Image files in a folder, and if `nested` in those below it, in sorted order; hidden and other files are not."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if nested and not name.startswith("."))
        for name in sorted(files):
            if name.lower().endswith(EXTENSIONS) and not name.startswith("."):
                yield Path(parent, name)


def class_folders(title: str, root: Path, below: str, classes: tuple[str, ...], *, nested: bool = True) -> FileListing:
    """The images of `root/below/<class>/`, and if `nested` of its folders, for each class that has a folder there.

    Raises:
        InputError: A folder holds no image.
    """
    pairs: list[tuple[Path, int]] = []
    empty: list[str] = []
    for label, name in enumerate(classes):
        folder = root / below / name
        files = list(image_files(folder, nested=nested))
        pairs += [(path, label) for path in files]
        empty += [name] if folder.is_dir() and not files else []
    if empty:
        raise InputError(f"class folders without an image in {root / below}: {listed(empty)}; fill or remove them")
    return file_listing(title, root, pairs)


def check_classes(folder: Path, classes: tuple[str, ...]) -> None:
    """Sees to it that every class of the test images is one of the training images.

    Raises:
        InputError: A folder in `folder` belongs to no class.
    """
    if strangers := sorted(set(subfolders(folder)) - set(classes)):
        raise InputError(
            f"{folder} has folders that are no class of the training images: {listed(strangers)}; "
            f"the classes are {listed(classes)}"
        )


def file_listing(title: str, root: Path, pairs: Iterable[tuple[Path, int]]) -> FileListing:
    """A listing of (file, label) pairs, in the order of the names whatever the order of the pairs."""
    named = sorted((path.relative_to(root).as_posix(), label) for path, label in pairs)
    labels = np.array([label for _, label in named], np.int64)
    return FileListing(title, [name for name, _ in named], labels, root)


def everything(listing: FileListing) -> Split:
    """The split that is a whole listing."""
    return Split(listing, np.arange(len(listing)))


def absent(title: str, path: Path, layout: str, origin: str, *, fetched: bool = False) -> InputError:
    """What to say when a data set, or a part of one, is not there; `fetched` is one that has archives."""
    how = "; data.download=true fetches it" if fetched else ""
    return InputError(f"{title}: {path} is missing or empty; get it from {origin} and lay it out as {layout}{how}")


def listed(names: Iterable[str], most: int = 5) -> str:
    """The first few names, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
