"""Your own images: one folder for each class."""

from pathlib import Path

import numpy as np

from convlens.data.sources.base import Source, check_classes, class_folders, everything, subfolders
from convlens.data.splits.image_index import FileListing
from convlens.data.splits.protocol import HeldOutFolds, Protocol
from convlens.data.splits.split import Split, held_out
from convlens.errors import InputError

_LAYOUT = "<root>/train/<class>/*.jpg and <root>/test/<class>/*.jpg, or <root>/<class>/*.jpg"


class ImageFolder(Source):
    """Images in `root/train/<class>/` and `root/test/<class>/`, or in `root/<class>/` alone.

    With `train` there may be `val` beside `test`; where there is only one of the two, it is the test set. Without
    `train`, a random `test_share` of each class is the test set; `seed` chooses it. Images may lie in folders of their
    own below the class. Labels follow the sorted names of the classes. In a protocol the fold stands for `seed`.
    """

    def __init__(self, root: str | Path, test_share: float = 0.2, seed: int = 0) -> None:
        if not 0 < test_share < 1:
            raise InputError(f"test_share is {test_share}: give a share between 0 and 1, both excluded")
        self.root = Path(root).expanduser()
        self.test_share = test_share
        self.seed = seed
        self._pool: FileListing | None = None

    def class_names(self) -> tuple[str, ...]:
        """The names of the folders."""
        folder = self.root / "train" if self._divided() else self.root
        names = tuple(subfolders(folder))
        if not names:
            raise InputError(
                f"{folder} {'has no class folders' if folder.is_dir() else 'is missing'}; {_LAYOUT} would be right"
            )
        return names

    def split(self, name: str) -> Split | None:
        """A folder of this name, or a share of the one level of folders."""
        return self._folder(name) if self._divided() else self._share(name)

    def protocol(self) -> Protocol:
        """The folders' own division, or in every fold another share for the test."""
        if self._divided():
            return super().protocol()
        return HeldOutFolds(
            listings=(self._whole(),), class_names=self.class_names(), salt="test", test_share=self.test_share
        )

    def _divided(self) -> bool:
        """Whether the first level of folders are splits; a class may be called train, too."""
        first = subfolders(self.root)
        return "train" in first and ("test" in first or "val" in first or bool(subfolders(self.root / "train")))

    def _folder(self, name: str) -> Split | None:
        has_test = bool(subfolders(self.root / "test"))
        if name == "val" and not (has_test and subfolders(self.root / "val")):
            return None
        below = "val" if name == "test" and not has_test else name
        check_classes(self.root / below, self.class_names())
        listing = class_folders(self.root.resolve().name, self.root, below, self.class_names())
        if not len(listing):
            raise InputError(
                f"{self.root} has train/ but no class folders in test/ or val/: add them, "
                f"or set root to {self.root / 'train'} to hold out a share of it"
            )
        return everything(listing)

    def _share(self, name: str) -> Split | None:
        if name == "val":
            return None
        pool = self._whole()
        test = held_out(pool.names, pool.labels, self.test_share, f"test {self.seed}")
        return Split(pool, np.flatnonzero(test if name == "test" else ~test))

    def _whole(self) -> FileListing:
        """All images of the one level of folders."""
        if self._pool is not None:
            return self._pool
        pool = class_folders(self.root.resolve().name, self.root, "", self.class_names())
        counts = np.bincount(pool.labels)
        if counts.min() < 2:
            raise InputError(
                f"class {self.class_names()[counts.argmin()]} in {self.root} has one image: "
                "two are the least for a training and a test set"
            )
        self._pool = pool
        return pool
