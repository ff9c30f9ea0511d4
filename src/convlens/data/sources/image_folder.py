"""A folder of your own images with one folder for each class."""

from pathlib import Path

import numpy as np

from convlens.data.sources.base import Source, check_class_folders, index_class_folders, subfolders, whole_split
from convlens.data.splits.folds import HeldOutFolds
from convlens.data.splits.image_index import FileIndex
from convlens.data.splits.protocol import Protocol
from convlens.data.splits.split import Split, held_out_mask
from convlens.errors import InputError
from convlens.io.names import readable

_LAYOUT = "<root>/train/<class>/*.jpg and <root>/test/<class>/*.jpg, or <root>/<class>/*.jpg"


class ImageFolder(Source):
    """Images in ``root/train/<class>/`` and ``root/test/<class>/``, or in ``root/<class>/`` alone.

    With ``train`` there may be ``val`` and ``test``; if there is only one of the two, it is the test set. Without
    ``train``, a random ``test_share`` of each class, selected by ``seed``, is the test set. Images may lie in folders
    below the class folder. Labels follow the sorted names of the classes. In a protocol the fold takes the place of
    ``seed``.

    Raises:
        InputError: ``test_share`` is not between 0 and 1.
    """

    def __init__(self, root: str | Path, test_share: float = 0.2, seed: int = 0) -> None:
        if not 0 < test_share < 1:
            raise InputError(f"test_share is {test_share}: give a share between 0 and 1, both excluded")
        self.root = Path(root).expanduser()
        self.test_share = test_share
        self.seed = seed
        self._pool: FileIndex | None = None

    def class_names(self) -> tuple[str, ...]:
        """Return the names of the class folders."""
        folder = self.root / "train" if self._has_split_folders() else self.root
        names = tuple(subfolders(folder))
        if not names:
            raise InputError(
                f"{folder} {'has no class folders' if folder.is_dir() else 'is missing'}; {_LAYOUT} would be right"
            )
        return names

    def split(self, name: str) -> Split | None:
        """Return the folder of this name, or a random share of the class folders."""
        return self._folder_split(name) if self._has_split_folders() else self._random_split(name)

    def protocol(self) -> Protocol:
        """Return the folders' own split, or another random test set in each fold."""
        if self._has_split_folders():
            return super().protocol()
        return HeldOutFolds(
            image_indexes=(self._index_all(),),
            class_names=tuple(map(readable, self.class_names())),
            salt="test",
            test_share=self.test_share,
        )

    def _has_split_folders(self) -> bool:
        """Return whether the first level of folders are splits; a class may be called train, too."""
        first = subfolders(self.root)
        return "train" in first and ("test" in first or "val" in first or bool(subfolders(self.root / "train")))

    def _folder_split(self, name: str) -> Split | None:
        has_test = bool(subfolders(self.root / "test"))
        if name == "val" and not (has_test and subfolders(self.root / "val")):
            return None
        below = "val" if name == "test" and not has_test else name
        check_class_folders(self.root / below, self.class_names())
        image_index = index_class_folders(readable(self.root.resolve().name), self.root, below, self.class_names())
        if not len(image_index):
            raise InputError(
                f"{self.root} has train/ but no class folders in test/ or val/: add them, "
                f"or set root to {self.root / 'train'} to hold out a share of it"
            )
        return whole_split(image_index)

    def _random_split(self, name: str) -> Split | None:
        if name == "val":
            return None
        pool = self._index_all()
        test = held_out_mask(pool.names, pool.labels, self.test_share, f"test {self.seed}")
        return Split(pool, np.flatnonzero(test if name == "test" else ~test))

    def _index_all(self) -> FileIndex:
        """Return all images of the class folders."""
        if self._pool is not None:
            return self._pool
        pool = index_class_folders(readable(self.root.resolve().name), self.root, "", self.class_names())
        counts = np.bincount(pool.labels)
        if counts.min() < 2:
            raise InputError(
                f"class {self.class_names()[counts.argmin()]} in {self.root} has one image: "
                "give at least two, for a training and a test set"
            )
        self._pool = pool
        return pool
