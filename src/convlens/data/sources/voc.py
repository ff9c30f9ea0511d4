"""PASCAL VOC as images of one object each, for the analyses that ask where a network looks, and for classification."""

import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int8

from convlens.data.download.catalog import voc
from convlens.data.sources.annotations import AnnotatedListing, Box
from convlens.data.sources.base import Source, listed
from convlens.data.sources.voc_devkit import CLASSES, Devkit, Thing, derived_targets
from convlens.data.splits.protocol import FixedSplit, fixed_split
from convlens.data.splits.split import Split
from convlens.errors import InputError

log = logging.getLogger(__name__)


class VocObjects(Source):
    """`root/VOC<year>/`, the devkit's layout; the label of an image is the class of its largest object.

    The training images are those of `train`; the test images those of `test` where the year has them, else of `val`.
    Regions: `object` is all objects together, and each class that is there is one by its name. Objects marked as
    difficult are left out, and so are images that have no other.
    """

    def __init__(self, root: str | Path, year: int = 2007) -> None:
        self.root, self.archives = Path(root).expanduser(), voc(year)
        self.devkit = Devkit(root, year)
        self.year = year

    def class_names(self) -> tuple[str, ...]:
        """The twenty classes."""
        return CLASSES

    def split(self, name: str) -> Split | None:
        """The images of a list of the devkit."""
        has_test = self.devkit.has("test")
        if name == "val" and not has_test:
            return None
        names, labels, shapes = [], [], []
        for image in self.devkit.images(name if has_test or name != "test" else "val"):
            things = [thing for thing in self.devkit.things(image) if not thing.difficult]
            if things:
                names.append(f"JPEGImages/{image}.jpg")
                labels.append(CLASSES.index(_largest(things).box.name))
                shapes.append(_shapes(things))
        title = f"voc{self.year}-{name}"
        found = AnnotatedListing(title, names, np.array(labels, np.int64), self.devkit.folder, shapes)
        return Split(found, np.arange(len(names)))


class _Part(NamedTuple):
    """Images of one of the devkit's lists; a label is -1 where there is no object at all."""

    listing: AnnotatedListing
    targets: Int8[np.ndarray, "n classes"]

    @property
    def labelled(self) -> Split:
        """The images with an object."""
        return Split(self.listing, np.flatnonzero(self.listing.labels >= 0))


class VocClassification(Source):
    """`root/VOC<year>/`, the devkit's layout: is there an object of a class in the image, for each of the twenty?

    The protocol's targets are the devkit's: 1 present, 0 there but difficult only, -1 absent, from the label files of
    the classes, or from the annotations where a part has no such files. The paper trains a softmax of exclusive classes
    and does not say how it chose the class of an image that has several; `label` does. An image of which all objects
    are difficult has the label of one of these; one without any object is in the protocol's test, but not trained on.

    The test images are those of `test` where they are annotated. From 2010 on the evaluation server keeps them to
    itself: then the test images are those of `val` and, whatever `train_on` says, the training images those of `train`,
    since `trainval` contains what is tested.

    Args:
        root: folder with `VOC<year>` in it.
        year: 2007 or 2012, or another with the same layout.
        train_on: `trainval` (the paper's) or `train`, which leaves `val` for validation.
        label: the class of an image with several is that of its `largest` object, or of the `first` annotated; one that
            is not difficult, if there is any.
    """

    def __init__(self, root: str | Path, year: int = 2012, train_on: str = "trainval", label: str = "largest") -> None:
        if train_on not in ("trainval", "train"):
            raise InputError(f"train_on is {train_on!r}: choose one of trainval, train")
        if label not in ("largest", "first"):
            raise InputError(f"label is {label!r}: choose one of largest, first")
        self.root, self.archives = Path(root).expanduser(), voc(year)
        self.devkit = Devkit(root, year)
        self.year, self.train_on, self.label = year, train_on, label
        self._read: dict[str, _Part] = {}

    def class_names(self) -> tuple[str, ...]:
        """The twenty classes."""
        return CLASSES

    def split(self, name: str) -> Split | None:
        """The images of a list of the devkit that have an object; `val` where it is neither trained on nor tested."""
        train, test = self._parts()
        if name == "val" and (train == "trainval" or test == "val"):
            return None
        return self._part({"train": train, "val": "val", "test": test}[name]).labelled

    def protocol(self) -> FixedSplit:
        """All images of the test list, and the training images that have an object, with all their classes."""
        train, test = (self._part(part) for part in self._parts())
        whole = Split(test.listing, np.arange(len(test.listing)))
        targets = np.concatenate([train.targets, test.targets])
        return fixed_split(train.labelled, whole, CLASSES, targets, name=f"voc{self.year}")

    def _parts(self) -> tuple[str, str]:
        """Which of the devkit's lists are trained on and tested."""
        return (self.train_on, "test") if self.devkit.annotated("test") else ("train", "val")

    def _part(self, part: str) -> _Part:
        if part not in self._read:
            images = self.devkit.images(part)
            things = [self.devkit.things(image) for image in images]
            labels = np.array([self._label(of_image) for of_image in things], np.int64)
            shapes = [_shapes([thing for thing in of_image if not thing.difficult]) for of_image in things]
            names = [f"JPEGImages/{image}.jpg" for image in images]
            listing = AnnotatedListing(f"voc{self.year}-{part}-images", names, labels, self.devkit.folder, shapes)
            self._read[part] = _Part(listing, self._targets(part, images, things))
        return self._read[part]

    def _label(self, things: list[Thing]) -> int:
        candidates = [thing for thing in things if not thing.difficult] or things
        if not candidates:
            return -1
        return CLASSES.index((candidates[0] if self.label == "first" else _largest(candidates)).box.name)

    def _targets(self, part: str, images: list[str], things: list[list[Thing]]) -> Int8[np.ndarray, "n classes"]:
        """The label files' word, which the official evaluation takes; where annotations differ, that is said."""
        derived, official = derived_targets(things), self.devkit.official_targets(part, images)
        if official is None:
            return derived
        if differing := [images[row] for row in np.flatnonzero((official != derived).any(axis=1))]:
            log.warning(
                "%s: the label files of %s and the annotations differ in %d of %d images (%s): the files are taken",
                *(self.devkit.lists, part, len(differing), len(images), listed(differing)),
            )
        return official


def _largest(things: list[Thing]) -> Thing:
    return max(things, key=lambda thing: thing.area)


def _shapes(things: list[Thing]) -> list[Box]:
    """The boxes by their classes, and again as `object`."""
    return [*(thing.box for thing in things), *(thing.box._replace(name="object") for thing in things)]
