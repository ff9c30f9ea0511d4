"""Evaluation protocols of data sets: random folds, held-out shares, and official training and test lists."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int8, Int64

from convlens.data.splits.protocol import Protocol, RowArray
from convlens.data.splits.split import Split, held_out_mask
from convlens.io.names import readable


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class RandomFolds(Protocol):
    """Random images of each class for training and others for testing (Fei-Fei et al. 2006, Griffin et al. 2007).

    Attributes:
        salt: text that determines the random selection together with the fold's number.
        train_per_class: default number of training images of each class.
        test_per_class: largest number of test images of each class.
    """

    salt: str
    train_per_class: int
    test_per_class: int

    def number(self, images_per_class: int | None) -> int:
        """Return the number of training images of each class; None gives the source's own."""
        return self.train_per_class if images_per_class is None else images_per_class

    def _divide_rows(self, images_per_class: int | None, fold: int) -> tuple[RowArray, RowArray]:
        count = self.number(images_per_class)
        usable = self._usable(np.arange(len(self)))
        self._check_counts(usable, count, "images", f"{count} to train leave none for the test", spare=1)
        rows, ranks = self._ranked(usable, f"{self.salt} {fold}")
        return rows[ranks < count], rows[(ranks >= count) & (ranks < count + self.test_per_class)]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class HeldOutFolds(Protocol):
    """A random share of each class for testing, for any number of training images.

    Attributes:
        salt: text that determines the random selection together with the fold's number.
        test_share: share of each class for testing, at least one image of it.
    """

    salt: str
    test_share: float

    def _divide_rows(self, images_per_class: int | None, fold: int) -> tuple[RowArray, RowArray]:
        usable, salt = self._usable(np.arange(len(self))), f"{self.salt} {fold}"
        is_held = held_out_mask([self.names[row] for row in usable], self.labels[usable], self.test_share, salt)
        return self._first_per_class(usable[~is_held], images_per_class, salt), usable[is_held]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class FixedSplit(Protocol):
    """The data set's own lists: all of the training list, or the first images of each class in a fold's order.

    Attributes:
        train: rows of the training list.
        test: rows of the test list, which is always used as a whole.
    """

    train: Int64[np.ndarray, " a"]
    test: Int64[np.ndarray, " b"]

    def folds(self, images_per_class: int | None) -> int | None:
        """Return 1 for all training images, else any number."""
        return 1 if images_per_class is None else None

    def _divide_rows(self, images_per_class: int | None, fold: int) -> tuple[RowArray, RowArray]:
        return self._first_per_class(self._usable(self.train), images_per_class, f"fixed {fold}"), self._usable(
            self.test
        )


def fixed_split(
    train: Split,
    test: Split,
    class_names: tuple[str, ...],
    targets: Int8[np.ndarray, "n classes"] | None = None,
    *,
    name: str = "",
) -> FixedSplit:
    """Return the protocol of two splits, which may share an index."""
    shared = train.image_index is test.image_index
    return FixedSplit(
        image_indexes=(train.image_index,) if shared else (train.image_index, test.image_index),
        class_names=tuple(map(readable, class_names)),
        name=name,
        targets=targets,
        train=train.rows,
        test=test.rows + (0 if shared else len(train.image_index)),
    )
