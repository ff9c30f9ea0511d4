"""Caltech-101: pictures of single objects, 31 to 800 in each of 101 classes (paper, Table 4)."""

from pathlib import Path

import numpy as np

from convlens.data.archives import CALTECH_101
from convlens.data.listing import FileListing
from convlens.data.sources.base import Source, absent, class_folders, subfolders
from convlens.data.splits import Split, rank_in_class
from convlens.errors import InputError

_ORIGIN = "https://data.caltech.edu/records/mzrjq-6wc02 (caltech-101.zip)"
_LAYOUT = "<root>/101_ObjectCategories/<class>/image_NNNN.jpg"
BACKGROUND = "BACKGROUND_Google"


class Caltech101(Source):
    """`root/101_ObjectCategories/<class>/image_NNNN.jpg`.

    The protocol of Fei-Fei et al. (2006): `train_per_class` random images of each class for training, up to
    `test_per_class` others for the test; `fold` chooses them. All folds share one cache. The paper is silent on
    whether the background folder is a class; like torchvision we leave it out unless `include_background`.
    """

    archives = CALTECH_101

    def __init__(
        self,
        root: str | Path,
        train_per_class: int = 30,
        test_per_class: int = 50,
        fold: int = 0,
        include_background: bool = False,
    ) -> None:
        if train_per_class < 1 or test_per_class < 1:
            raise InputError(f"train_per_class {train_per_class}, test_per_class {test_per_class}: both at least 1")
        self.root = Path(root).expanduser()
        self.train_per_class = train_per_class
        self.test_per_class = test_per_class
        self.fold = fold
        self.include_background = include_background
        self._pool: FileListing | None = None

    def class_names(self) -> tuple[str, ...]:
        """The names of the folders."""
        folder = self.root / "101_ObjectCategories"
        names = tuple(name for name in subfolders(folder) if self.include_background or name != BACKGROUND)
        if not names:
            raise absent("Caltech-101", folder, _LAYOUT, _ORIGIN, fetched=True)
        return names

    def split(self, name: str) -> Split | None:
        """The first images of each class in the order of the fold as `train`, the next as `test`."""
        if name == "val":
            return None
        pool = self._listing()
        ranks = rank_in_class(pool.names, pool.labels, f"caltech-101 {self.fold}")
        first = ranks < self.train_per_class
        if name == "train":
            return Split(pool, np.flatnonzero(first))
        return Split(pool, np.flatnonzero(~first & (ranks < self.train_per_class + self.test_per_class)))

    def _listing(self) -> FileListing:
        if self._pool is None:
            classes = self.class_names()
            pool = class_folders("caltech-101", self.root, "101_ObjectCategories", classes)
            counts = np.bincount(pool.labels, minlength=len(classes))
            if counts.min() <= self.train_per_class:
                raise InputError(
                    f"class {classes[counts.argmin()]} of Caltech-101 has {counts.min()} images: "
                    f"train_per_class {self.train_per_class} leaves none for the test"
                )
            self._pool = pool
        return self._pool
