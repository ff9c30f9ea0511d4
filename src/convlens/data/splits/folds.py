"""Evaluation protocols of data sets: random folds, held-out shares, and official training and test lists."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Int8, Int64

from convlens.data.splits.protocol import Protocol, RowArray
from convlens.data.splits.split import Split, held_out_mask
from convlens.errors import InputError
from convlens.io.names import readable


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class RandomFolds(Protocol):
    """Random images of each class for training and others for testing (Fei-Fei et al. 2006, Griffin et al. 2007).

    Attributes:
        salt: text that determines the random selection together with the fold's number.
        train_per_class: default number of training images of each class.
        test_per_class: largest number of test images of each class.
        max_train_per_class: largest number of training images of each class; the test images follow on them in the
            fold's order and so are the same for all smaller numbers. None: they follow on those that train, and so
            differ between numbers, as in version 0.2.
    """

    salt: str
    train_per_class: int
    test_per_class: int
    max_train_per_class: int | None = None

    def number(self, images_per_class: int | None) -> int:
        """Return the number of training images of each class; None gives the source's own."""
        return self.train_per_class if images_per_class is None else images_per_class

    def _divide_rows(self, images_per_class: int | None, fold: int) -> tuple[RowArray, RowArray]:
        count = self.number(images_per_class)
        first_tested = max(count, self.max_train_per_class or 0)
        usable = self._usable(np.arange(len(self)))
        amount = f"{count} to train leave" if first_tested == count else f"max_train_per_class={first_tested} leaves"
        self._check_counts(usable, first_tested, "images", f"{amount} none for the test", spare=1)
        if self.max_train_per_class is not None and count > self.max_train_per_class:
            raise InputError(
                f"{count} images per class of {self.title}: the test images follow on the first "
                f"{self.max_train_per_class} of each class; give data.source.max_train_per_class={count}, too"
            )
        rows, ranks = self._ranked(usable, f"{self.salt} {fold}")
        return rows[ranks < count], rows[(ranks >= first_tested) & (ranks < first_tested + self.test_per_class)]


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


class Submission(NamedTuple):
    """What an evaluation server asks for: scores of all images of a list.

    Attributes:
        part: name of the list, such as ``test``.
        train: rows of the images to train on.
        images: rows of the images of the list, in its order; their classes need not be known.
    """

    part: str
    train: RowArray
    images: RowArray


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class FixedSplit(Protocol):
    """The data set's own lists: all of the training list, or the first images of each class in a fold's order.

    Attributes:
        train: rows of the training list.
        test: rows of the test list, which is always used as a whole.
        submission: what an evaluation server asks for; None if there is none.
    """

    train: Int64[np.ndarray, " a"]
    test: Int64[np.ndarray, " b"]
    submission: Submission | None = None

    @property
    def usable_submission(self) -> Submission | None:
        """The submission without the training images that are left out; all of the list's images are scored."""
        return None if self.submission is None else self.submission._replace(train=self._usable(self.submission.train))

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
