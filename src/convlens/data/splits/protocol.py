"""Evaluation protocols: which images train and which test a classifier on fixed features (Sec. 5.2, Tables 4 to 6).

Nothing is decoded here: a protocol knows names and labels, and its random choices follow from them and the fold alone.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeVar

import numpy as np
from jaxtyping import Int8, Int64

from convlens.data.splits.image_index import ImageIndex
from convlens.data.splits.split import rank_in_class
from convlens.errors import InputError
from convlens.io.hashing import digest_bytes
from convlens.io.names import name_bytes

AnyProtocol = TypeVar("AnyProtocol", bound="Protocol")
RowArray = Int64[np.ndarray, " _"]  # of any length


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Protocol(ABC):
    """Training and test images of a pool, for any number of training images per class and any fold.

    Attributes:
        image_indexes: the pool; an image's row is its position in their concatenation.
        class_names: names of the classes in the order of the labels.
        name: name of the data set; empty for that of the indexes.
        targets: for images with several classes: 1 present, 0 difficult (not counted), -1 absent. None if the labels
            are complete.
        left_out: rows that no split contains; they keep their position, so that a row means the same image in any case.

    Raises:
        InputError: there are fewer than two classes.
    """

    image_indexes: tuple[ImageIndex, ...]
    class_names: tuple[str, ...]
    name: str = ""
    targets: Int8[np.ndarray, "n classes"] | None = None
    left_out: Int64[np.ndarray, " k"] = field(default_factory=lambda: np.empty(0, np.int64))

    def __post_init__(self) -> None:
        if len(self.class_names) < 2:
            raise self._single_class_error(self.class_names)

    @cached_property
    def labels(self) -> Int64[np.ndarray, " n"]:
        """Class of each image of the pool; -1 for an image without a class, which is never trained on."""
        return np.concatenate([image_index.labels for image_index in self.image_indexes])

    @cached_property
    def names(self) -> list[str]:
        """Name of each image of the pool."""
        return [name for image_index in self.image_indexes for name in image_index.names]

    @property
    def title(self) -> str:
        """Name of the data set for messages."""
        return self.name or " and ".join(dict.fromkeys(image_index.title for image_index in self.image_indexes))

    def __len__(self) -> int:
        return sum(len(image_index) for image_index in self.image_indexes)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.title}: {len(self)} images in {len(self.class_names)} classes)"

    def folds(self, images_per_class: int | None) -> int | None:
        """Return the number of different folds; None for any number."""
        return None

    def number(self, images_per_class: int | None) -> int | None:
        """Return the number of training images of each class; None if it differs between classes."""
        return images_per_class

    def digest(self, images_per_class: int | None, fold: int) -> str:
        """Return a digest of a split's images, their roles and the classes.

        Raises:
            InputError: as in ``split``.
        """
        chunks = [name_bytes("\n".join(self.class_names))]
        for rows in self.split(images_per_class, fold):
            chunks.append(name_bytes("\n".join(self.names[row] for row in rows.tolist())))
            chunks.append(self.labels[rows].tobytes())
            chunks.append(b"" if self.targets is None else self.targets[rows].tobytes())
        return digest_bytes(*chunks)

    def without(self: AnyProtocol, rows: RowArray) -> AnyProtocol:
        """Return the same protocol with more rows left out of every split."""
        return replace(self, left_out=np.union1d(self.left_out, rows).astype(np.int64))

    def split(self, images_per_class: int | None, fold: int) -> tuple[RowArray, RowArray]:
        """Return the rows of the pool to train on and to test.

        The first images of every class come first in the training rows, so that the training rows of a smaller number
        of images per class are a prefix of those of a larger one.

        Args:
            images_per_class: training images of each class; None takes all that the data set provides.
            fold: number of the random selection, from 0.

        Returns:
            Training rows in a balanced order and sorted test rows.

        Raises:
            InputError: a number is out of range, a class has too few images, or there are no test images.
        """
        if images_per_class is not None and images_per_class < 1:
            raise InputError(f"images_per_class is {images_per_class}: give at least 1")
        folds = self.folds(images_per_class)
        if fold < 0 or (folds is not None and fold >= folds):
            valid = "a number from 0" if folds is None else "0" if folds == 1 else f"0 to {folds - 1}"
            amount = "all training images" if images_per_class is None else f"{images_per_class} images per class"
            raise InputError(f"fold {fold} of {self.title} with {amount}: give {valid}")
        train, test = self._divide_rows(images_per_class, fold)
        present = np.unique(self.labels[train])
        if len(present) < 2:
            raise self._single_class_error([self.class_names[label] for label in present])
        if not len(test):
            raise InputError(f"{self.title} has no image to test: every image is trained on or left out; add some")
        return train, np.sort(test)

    @abstractmethod
    def _divide_rows(self, images_per_class: int | None, fold: int) -> tuple[RowArray, RowArray]:
        """Return the rows of ``split`` for checked arguments, the test rows in any order."""

    def _usable(self, rows: RowArray) -> RowArray:
        return rows[~np.isin(rows, self.left_out)]

    def _ranked(self, rows: RowArray, salt: str) -> tuple[RowArray, RowArray]:
        """Return the rows with the first of every class first, and the rank of each in its class."""
        labels = self.labels[rows]
        ranks = rank_in_class([self.names[row] for row in rows], labels, salt)
        order = np.lexsort((labels, ranks))
        return rows[order], ranks[order]

    def _first_per_class(self, rows: RowArray, images_per_class: int | None, salt: str) -> RowArray:
        """Return the first images of each class among training rows, or all of them in that order.

        Raises:
            InputError: a class has too few images; for all images, one is enough unless targets replace the labels.
        """
        if images_per_class is not None:
            self._check_counts(rows, images_per_class, "training images", f"{images_per_class} are asked for", spare=0)
        elif self.targets is None:
            self._check_counts(rows, 1, "training images", "one is the least", spare=0)
        ranked, ranks = self._ranked(rows, salt)
        return ranked if images_per_class is None else ranked[ranks < images_per_class]

    def _check_counts(self, rows: RowArray, least: int, kind: str, problem: str, *, spare: int) -> None:
        """Check that each class has ``least`` images and some to spare."""
        counts = np.bincount(self.labels[rows], minlength=len(self.class_names))
        fewest = int(counts.argmin())
        if counts[fewest] < least + spare:
            possible = counts[fewest] - spare
            remedy = f"at most {possible} to train is possible" if possible > 0 else "add some, or take the class out"
            raise InputError(
                f"class {self.class_names[fewest]} of {self.title} has {counts[fewest]} {kind}: {problem}; {remedy}"
            )

    def _single_class_error(self, names: Sequence[str]) -> InputError:
        name = names[0] if names else "none"
        return InputError(f"a classifier needs two classes to train on, {self.title} has only {name}: add another")
