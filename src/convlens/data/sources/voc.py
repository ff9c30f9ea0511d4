"""PASCAL VOC: images with one label and boxes of their objects, and the multi-label classification task (Table 6)."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Int8

from convlens.data.download.catalog import voc_archives
from convlens.data.sources.annotations import AnnotatedIndex, Box
from convlens.data.sources.base import Source, join_names
from convlens.data.sources.voc_devkit import CLASSES, VocDevkit, VocObject, derived_targets
from convlens.data.splits.folds import FixedSplit, Submission, fixed_split
from convlens.data.splits.split import Split
from convlens.errors import InputError

log = logging.getLogger(__name__)


class VocObjects(Source):
    """``root/VOC<year>/`` in the devkit's layout; the label of an image is the class of its largest object.

    The training images are those of ``train``; the test images those of ``test`` if the year has them, else those of
    ``val``. Region ``object`` covers all objects, and each class that occurs is a region of its name. Objects marked as
    difficult are ignored, as are images that have no others.
    """

    def __init__(self, root: str | Path, year: int = 2007) -> None:
        self.root, self.archives = Path(root).expanduser(), voc_archives(year)
        self.devkit = VocDevkit(root, year)
        self.year = year

    def class_names(self) -> tuple[str, ...]:
        """Return the twenty classes."""
        return CLASSES

    def split(self, name: str) -> Split | None:
        """Return the images of one of the devkit's lists."""
        has_test = self.devkit.has("test")
        if name == "val" and not has_test:
            return None
        names, labels, shapes = [], [], []
        for image in self.devkit.images(name if has_test or name != "test" else "val"):
            objects = [one for one in self.devkit.objects(image) if not one.difficult]
            if objects:
                names.append(f"JPEGImages/{image}.jpg")
                labels.append(CLASSES.index(_largest(objects).box.name))
                shapes.append(_shapes(objects))
        title = f"voc{self.year}-{name}"
        found = AnnotatedIndex(title, names, np.array(labels, np.int64), self.devkit.folder, shapes)
        return Split(found, np.arange(len(names)))


class _ListedImages(NamedTuple):
    """Images of one of the devkit's lists; the label is -1 for an image without any object."""

    image_index: AnnotatedIndex
    targets: Int8[np.ndarray, "n classes"]

    @property
    def labelled(self) -> Split:
        """The images with an object."""
        return Split(self.image_index, np.flatnonzero(self.image_index.labels >= 0))


class VocClassification(Source):
    """``root/VOC<year>/`` in the devkit's layout: presence of each of twenty classes in an image.

    The protocol's targets are the devkit's: 1 present, 0 present but difficult only, -1 absent; from the label files of
    the classes, or from the annotations for a list without such files. The paper trains a softmax over exclusive
    classes and does not say which class an image with several has; ``label`` chooses it. An image with difficult
    objects only has the label of one of these; an image without objects is tested, but not trained on.

    The test images are those of ``test`` if they are annotated. From 2010 on the evaluation server keeps the test
    annotations: then the test images are those of ``val``, and the training images those of ``train`` for
    any ``train_on``, since ``trainval`` contains the test images.

    Args:
        root: folder that contains ``VOC<year>``.
        year: 2007, 2012 or another year of the same layout.
        train_on: ``trainval`` (as in the paper) or ``train``, which leaves ``val`` for validation.
        label: class of an image with several: of its ``largest`` object or of the ``first`` annotated one; objects that
            are not difficult are preferred.

    Raises:
        InputError: ``train_on`` or ``label`` is another value.
    """

    def __init__(
        self,
        root: str | Path,
        year: int = 2012,
        train_on: Literal["trainval", "train"] = "trainval",
        label: Literal["largest", "first"] = "largest",
    ) -> None:
        if train_on not in ("trainval", "train"):
            raise InputError(f"data.source.train_on is {train_on!r}: choose one of trainval, train")
        if label not in ("largest", "first"):
            raise InputError(f"data.source.label is {label!r}: choose one of largest, first")
        self.root, self.archives = Path(root).expanduser(), voc_archives(year)
        self.devkit = VocDevkit(root, year)
        self.year, self.train_on, self.label = year, train_on, label
        self._parts: dict[str, _ListedImages] = {}

    def class_names(self) -> tuple[str, ...]:
        """Return the twenty classes."""
        return CLASSES

    def split(self, name: str) -> Split | None:
        """Return the listed images with an object; ``val`` only if it is neither trained on nor tested."""
        train, test = self._list_names()
        if name == "val" and (train == "trainval" or test == "val"):
            return None
        return self._part({"train": train, "val": "val", "test": test}[name]).labelled

    def protocol(self) -> FixedSplit:
        """Return the training images with an object and all test images, with the targets of all classes.

        The submission is of the list ``test``, also where the server keeps its annotations, if its images are there:
        then ``val``, on which the scores are reported, is trained on as well for ``train_on=trainval``.
        """
        train_name, test_name = self._list_names()
        train, test = self._part(train_name), self._part(test_name)
        all_test = Split(test.image_index, np.arange(len(test.image_index)))
        targets = np.concatenate([train.targets, test.targets])
        found = fixed_split(train.labelled, all_test, CLASSES, targets, name=f"voc{self.year}")
        if test_name == "test" or not self.devkit.complete("test"):
            return replace(found, submission=Submission(test_name, found.train, found.test))
        hidden = self._hidden_images()
        rows = len(found) + np.arange(len(hidden))
        labelled = found.test[test.image_index.labels >= 0]
        trained = np.concatenate([found.train, labelled]) if self.train_on == "trainval" else found.train
        return replace(
            found,
            image_indexes=(*found.image_indexes, hidden),
            targets=np.concatenate([targets, np.zeros((len(hidden), len(CLASSES)), np.int8)]),
            submission=Submission("test", trained, rows),
        )

    def _hidden_images(self) -> AnnotatedIndex:
        """Return the test images, whose classes and objects the server keeps to itself."""
        images = self.devkit.images("test")
        names = [f"JPEGImages/{image}.jpg" for image in images]
        labels = np.full(len(images), -1, np.int64)
        return AnnotatedIndex(f"voc{self.year}-test-images", names, labels, self.devkit.folder, [[] for _ in images])

    def _list_names(self) -> tuple[str, str]:
        """Return the names of the devkit's lists to train on and to test."""
        return (self.train_on, "test") if self.devkit.annotated("test") else ("train", "val")

    def _part(self, part: str) -> _ListedImages:
        if part not in self._parts:
            images = self.devkit.images(part)
            objects = [self.devkit.objects(image) for image in images]
            labels = np.array([self._label(of_image) for of_image in objects], np.int64)
            shapes = [_shapes([one for one in of_image if not one.difficult]) for of_image in objects]
            names = [f"JPEGImages/{image}.jpg" for image in images]
            image_index = AnnotatedIndex(f"voc{self.year}-{part}-images", names, labels, self.devkit.folder, shapes)
            self._parts[part] = _ListedImages(image_index, self._targets(part, images, objects))
        return self._parts[part]

    def _label(self, objects: list[VocObject]) -> int:
        candidates = [one for one in objects if not one.difficult] or objects
        if not candidates:
            return -1
        return CLASSES.index((candidates[0] if self.label == "first" else _largest(candidates)).box.name)

    def _targets(self, part: str, images: list[str], objects: list[list[VocObject]]) -> Int8[np.ndarray, "n classes"]:
        """Return the label files' targets, as the official evaluation does; log where the annotations differ."""
        derived, official = derived_targets(objects), self.devkit.official_targets(part, images)
        if official is None:
            return derived
        if differing := [images[row] for row in np.flatnonzero((official != derived).any(axis=1))]:
            log.warning(
                "%s: the label files of %s and the annotations differ in %d of %d images (%s): the files are taken",
                *(self.devkit.lists, part, len(differing), len(images), join_names(differing)),
            )
        return official


def _largest(objects: list[VocObject]) -> VocObject:
    return max(objects, key=lambda one: one.area)


def _shapes(objects: list[VocObject]) -> list[Box]:
    """Return the boxes under their classes, and again as ``object``."""
    return [*(one.box for one in objects), *(one.box._replace(name="object") for one in objects)]
