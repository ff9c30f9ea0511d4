"""Base class of data sets without an official split: random training and test folds of each class (Caltech)."""

from abc import abstractmethod
from pathlib import Path
from typing import ClassVar

import numpy as np

from convlens.data.sources.base import Source, index_class_folders, missing_data_error, subfolders
from convlens.data.splits.folds import RandomFolds
from convlens.data.splits.image_index import FileIndex
from convlens.data.splits.split import Split
from convlens.errors import InputError
from convlens.io.names import readable

WITH_BACKGROUND = " with background"


class RandomFoldsSource(Source):
    """``root/<below>/<class>/*.jpg``, with training and test images selected by ``fold``.

    All folds share one cache. Folders inside of the class folders are ignored, since the official archives have some.

    Args:
        root: folder of the data set.
        train_per_class: training images of each class.
        test_per_class: largest number of test images of each class.
        fold: number of the random selection, from 0; a protocol uses all of them.
        include_background: whether the folder of background images is a class.
        seed: another seed gives other folds.
        max_train_per_class: see `RandomFolds`.

    Raises:
        InputError: a number of images is below 1.
    """

    title: ClassVar[str]
    below: ClassVar[str]
    background: ClassVar[str]
    origin: ClassVar[str]
    layout: ClassVar[str]

    def __init__(
        self,
        root: str | Path,
        train_per_class: int,
        test_per_class: int,
        fold: int,
        include_background: bool,
        seed: int = 0,
        max_train_per_class: int | None = None,
    ) -> None:
        if train_per_class < 1 or test_per_class < 1:
            raise InputError(f"train_per_class {train_per_class}, test_per_class {test_per_class}: both at least 1")
        if max_train_per_class is not None and max_train_per_class < 1:
            raise InputError(f"max_train_per_class {max_train_per_class}: at least 1")
        self.root = Path(root).expanduser()
        self.train_per_class = train_per_class
        self.test_per_class = test_per_class
        self.max_train_per_class = max_train_per_class
        self.fold = fold
        self.seed = seed
        self.include_background = include_background
        self._pool: FileIndex | None = None

    @abstractmethod
    def class_name(self, folder: str) -> str:
        """Return the name of a folder's class."""

    def class_names(self) -> tuple[str, ...]:
        """Return the names of the classes in the order of the folders."""
        return tuple(self.class_name(folder) for folder in self._folders())

    def protocol(self) -> RandomFolds:
        """Return random folds of any number of images per class."""
        return RandomFolds(
            image_indexes=(self._image_index(),),
            class_names=tuple(map(readable, self.class_names())),
            name=self.title.lower() + (WITH_BACKGROUND if self.include_background else ""),
            salt=self.title.lower() + (f" {self.seed}" if self.seed else ""),
            train_per_class=self.train_per_class,
            test_per_class=self.test_per_class,
            max_train_per_class=self.max_train_per_class,
        )

    def split(self, name: str) -> Split | None:
        """Return the first images of each class in the fold's order as ``train``, the next ones as ``test``."""
        if name == "val":
            return None
        train, test = self.protocol().split(self.train_per_class, self.fold)
        return Split(self._image_index(), np.sort(train) if name == "train" else test)

    def _folders(self) -> tuple[str, ...]:
        folder = self.root / self.below
        names = tuple(name for name in subfolders(folder) if self.include_background or name != self.background)
        if not names:
            raise missing_data_error(self.title, folder, self.layout, self.origin, downloadable=True)
        return names

    def _image_index(self) -> FileIndex:
        if self._pool is None:
            self._pool = index_class_folders(self.title.lower(), self.root, self.below, self._folders(), nested=False)
        return self._pool
