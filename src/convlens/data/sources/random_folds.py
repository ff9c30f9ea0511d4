"""Class folders without a division: random images of each class train, others test."""

from abc import abstractmethod
from pathlib import Path
from typing import ClassVar

import numpy as np

from convlens.data.sources.base import Source, absent, class_folders, subfolders
from convlens.data.splits.image_index import FileListing
from convlens.data.splits.protocol import RandomFolds
from convlens.data.splits.split import Split
from convlens.errors import InputError

WITH_BACKGROUND = " with background"


class RandomFoldsSource(Source):
    """`root/<below>/<class>/*.jpg`, of which `fold` chooses the training and test images.

    All folds share one cache. Folders inside of the class folders are passed over: the official archives have strays.

    Args:
        root: folder of the data set.
        train_per_class: images of each class to train.
        test_per_class: the most others of each class to test.
        fold: which of the random choices, from 0; a protocol takes all of them.
        seed: another number draws other folds.
        include_background: whether the folder of images of nothing in particular is a class.
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
    ) -> None:
        if train_per_class < 1 or test_per_class < 1:
            raise InputError(f"train_per_class {train_per_class}, test_per_class {test_per_class}: both at least 1")
        self.root = Path(root).expanduser()
        self.train_per_class = train_per_class
        self.test_per_class = test_per_class
        self.fold = fold
        self.seed = seed
        self.include_background = include_background
        self._pool: FileListing | None = None

    @abstractmethod
    def class_name(self, folder: str) -> str:
        """Name of the class of a folder."""

    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the folders."""
        return tuple(self.class_name(folder) for folder in self._folders())

    def protocol(self) -> RandomFolds:
        """Any number of images of each class, in any fold."""
        return RandomFolds(
            listings=(self._listing(),),
            class_names=self.class_names(),
            name=self.title.lower() + (WITH_BACKGROUND if self.include_background else ""),
            salt=self.title.lower() + (f" {self.seed}" if self.seed else ""),
            train_per_class=self.train_per_class,
            test_per_class=self.test_per_class,
        )

    def split(self, name: str) -> Split | None:
        """The first images of each class in the order of the fold as `train`, the next as `test`."""
        if name == "val":
            return None
        train, test = self.protocol().split(self.train_per_class, self.fold)
        return Split(self._listing(), np.sort(train) if name == "train" else test)

    def _folders(self) -> tuple[str, ...]:
        folder = self.root / self.below
        names = tuple(name for name in subfolders(folder) if self.include_background or name != self.background)
        if not names:
            raise absent(self.title, folder, self.layout, self.origin, fetched=True)
        return names

    def _listing(self) -> FileListing:
        if self._pool is None:
            self._pool = class_folders(self.title.lower(), self.root, self.below, self._folders(), nested=False)
        return self._pool
