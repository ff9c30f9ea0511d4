"""Which images train and which test a classifier on fixed features (paper, Sec. 5.2; `reference/paper.md`, section 6).

Nothing is decoded here: a protocol knows names and labels, and its random choices follow from them and the fold alone.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import blake2b
from typing import TypeVar

import numpy as np
from jaxtyping import Int8, Int64

from convlens.data.splits.image_index import Listing
from convlens.data.splits.split import Split, held_out, rank_in_class
from convlens.errors import InputError

AnyProtocol = TypeVar("AnyProtocol", bound="Protocol")
Rows = Int64[np.ndarray, " _"]  # of any length


@dataclass(frozen=True, eq=False, kw_only=True)
class Protocol(ABC):
    """Which images of a pool train and which test a classifier, for any number of images per class and any fold.

    Attributes:
        listings: The pool; the index of an image is its position in their concatenation.
        class_names: Names of the classes in the order of the labels.
        name: Of the data set; empty where that of the listings will do.
        targets: For images of several classes: 1 present, 0 there but difficult (not to be counted), -1 absent. None:
            the labels say it all.
        left_out: Rows of the pool that no split has: they keep their place, so that an index means the same image
            whatever is left out.

    Raises:
        InputError: There is one class only.
    """

    listings: tuple[Listing, ...]
    class_names: tuple[str, ...]
    name: str = ""
    targets: Int8[np.ndarray, "n classes"] | None = None
    left_out: Int64[np.ndarray, " k"] = field(default_factory=lambda: np.empty(0, np.int64))

    def __post_init__(self) -> None:
        if len(self.class_names) < 2:
            raise self._one_class(self.class_names)

    @cached_property
    def labels(self) -> Int64[np.ndarray, " n"]:
        """Class of each image of the pool; -1 where it has none, which no training has."""
        return np.concatenate([listing.labels for listing in self.listings])

    @cached_property
    def names(self) -> list[str]:
        """Name of each image of the pool."""
        return [name for listing in self.listings for name in listing.names]

    @property
    def title(self) -> str:
        """Name of the data set, for messages."""
        return self.name or " and ".join(dict.fromkeys(listing.title for listing in self.listings))

    def __len__(self) -> int:
        return sum(len(listing) for listing in self.listings)

    def folds(self, images_per_class: int | None) -> int | None:
        """How many different folds there are; None: any number."""
        return None

    def number(self, images_per_class: int | None) -> int | None:
        """The number of training images of each class that is meant; None: what there is, more of one than another."""
        return images_per_class

    def digest(self, images_per_class: int | None, fold: int) -> str:
        """What tells a split apart from any with other images, in other roles, or with other classes.

        Raises:
            InputError: As `split`.
        """
        digest = blake2b("\n".join(self.class_names).encode(), digest_size=16)
        for rows in self.split(images_per_class, fold):
            digest.update("\n".join(self.names[row] for row in rows.tolist()).encode())
            digest.update(self.labels[rows].tobytes())
            digest.update(b"" if self.targets is None else self.targets[rows].tobytes())
        return digest.hexdigest()

    def without(self: AnyProtocol, rows: Rows) -> AnyProtocol:
        """The same, with more rows in no split."""
        return replace(self, left_out=np.union1d(self.left_out, rows).astype(np.int64))

    def split(self, images_per_class: int | None, fold: int) -> tuple[Rows, Rows]:
        """Rows of the pool to train and to test.

        The first images of every class come first in the training rows, so that those of a smaller number of images
        per class are a beginning of those of a larger one. `images_per_class` None takes what the data set provides.

        Raises:
            InputError: A number is impossible, a class has too few images, or there is none to test.
        """
        if images_per_class is not None and images_per_class < 1:
            raise InputError(f"images_per_class is {images_per_class}: give at least 1")
        folds = self.folds(images_per_class)
        if fold < 0 or (folds is not None and fold >= folds):
            there_are = "a number from 0" if folds is None else "0" if folds == 1 else f"0 to {folds - 1}"
            amount = "all training images" if images_per_class is None else f"{images_per_class} images per class"
            raise InputError(f"fold {fold} of {self.title} with {amount}: give {there_are}")
        train, test = self._divide(images_per_class, fold)
        present = np.unique(self.labels[train])
        if len(present) < 2:
            raise self._one_class([self.class_names[label] for label in present])
        if not len(test):
            raise InputError(f"{self.title} has no image to test: every image is trained on or left out; add some")
        return train, np.sort(test)

    @abstractmethod
    def _divide(self, images_per_class: int | None, fold: int) -> tuple[Rows, Rows]:
        """What `split` gives, its numbers being checked, the test in any order."""

    def _usable(self, rows: Rows) -> Rows:
        return rows[~np.isin(rows, self.left_out)]

    def _ranked(self, rows: Rows, salt: str) -> tuple[Rows, Rows]:
        """The rows with the first of every class first, and the rank of each in its class."""
        labels = self.labels[rows]
        ranks = rank_in_class([self.names[row] for row in rows], labels, salt)
        order = np.lexsort((labels, ranks))
        return rows[order], ranks[order]

    def _first(self, rows: Rows, images_per_class: int | None, salt: str) -> Rows:
        """The first images of each class among training rows, or all of them in that order.

        Raises:
            InputError: A class has too few; all of them are enough if there is one, where targets do not say more.
        """
        if images_per_class is not None:
            self._check_counts(rows, images_per_class, "training images", f"{images_per_class} are asked for", spare=0)
        elif self.targets is None:
            self._check_counts(rows, 1, "training images", "one is the least", spare=0)
        ranked, ranks = self._ranked(rows, salt)
        return ranked if images_per_class is None else ranked[ranks < images_per_class]

    def _check_counts(self, rows: Rows, least: int, what: str, problem: str, *, spare: int) -> None:
        """Sees to it that each class has `least` images and some to spare."""
        counts = np.bincount(self.labels[rows], minlength=len(self.class_names))
        fewest = int(counts.argmin())
        if counts[fewest] < least + spare:
            possible = counts[fewest] - spare
            remedy = f"at most {possible} to train is possible" if possible > 0 else "add some, or take the class out"
            raise InputError(
                f"class {self.class_names[fewest]} of {self.title} has {counts[fewest]} {what}: {problem}; {remedy}"
            )

    def _one_class(self, names: Sequence[str]) -> InputError:
        only = names[0] if names else "none"
        return InputError(f"a classifier needs two classes to train on, {self.title} has only {only}: add another")


@dataclass(frozen=True, eq=False, kw_only=True)
class RandomFolds(Protocol):
    """Random images of each class to train, others to test (Fei-Fei et al. 2006, Griffin et al. 2007).

    Attributes:
        salt: What the folds are drawn with, beside their number.
        train_per_class: Images of each class to train, where nothing else is asked for.
        test_per_class: The most images of each class to test.
    """

    salt: str
    train_per_class: int
    test_per_class: int

    def number(self, images_per_class: int | None) -> int:
        """None is what the source was given."""
        return self.train_per_class if images_per_class is None else images_per_class

    def _divide(self, images_per_class: int | None, fold: int) -> tuple[Rows, Rows]:
        count = self.number(images_per_class)
        usable = self._usable(np.arange(len(self)))
        self._check_counts(usable, count, "images", f"{count} to train leave none for the test", spare=1)
        rows, ranks = self._ranked(usable, f"{self.salt} {fold}")
        return rows[ranks < count], rows[(ranks >= count) & (ranks < count + self.test_per_class)]


@dataclass(frozen=True, eq=False, kw_only=True)
class HeldOutFolds(Protocol):
    """A random share of each class to test, whatever the number of images to train.

    Attributes:
        salt: What the folds are drawn with, beside their number.
        test_share: Share of each class to test, at least one image of it.
    """

    salt: str
    test_share: float

    def _divide(self, images_per_class: int | None, fold: int) -> tuple[Rows, Rows]:
        usable, salt = self._usable(np.arange(len(self))), f"{self.salt} {fold}"
        held = held_out([self.names[row] for row in usable], self.labels[usable], self.test_share, salt)
        return self._first(usable[~held], images_per_class, salt), usable[held]


@dataclass(frozen=True, eq=False, kw_only=True)
class FixedSplit(Protocol):
    """The data set's own lists: all of the training list, or the first images of each class of it in a fold's order.

    Attributes:
        train: Rows of the training list.
        test: Rows of the test list, which is always whole.
    """

    train: Int64[np.ndarray, " a"]
    test: Int64[np.ndarray, " b"]

    def folds(self, images_per_class: int | None) -> int | None:
        """One, if all training images are taken; else any number."""
        return 1 if images_per_class is None else None

    def _divide(self, images_per_class: int | None, fold: int) -> tuple[Rows, Rows]:
        return self._first(self._usable(self.train), images_per_class, f"fixed {fold}"), self._usable(self.test)


def fixed_split(
    train: Split,
    test: Split,
    class_names: tuple[str, ...],
    targets: Int8[np.ndarray, "n classes"] | None = None,
    *,
    name: str = "",
) -> FixedSplit:
    """The protocol of two splits, whether they share a listing or not."""
    shared = train.listing is test.listing
    return FixedSplit(
        listings=(train.listing,) if shared else (train.listing, test.listing),
        class_names=class_names,
        name=name,
        targets=targets,
        train=train.rows,
        test=test.rows + (0 if shared else len(train.listing)),
    )
