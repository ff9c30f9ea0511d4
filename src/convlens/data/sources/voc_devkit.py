"""The devkit of PASCAL VOC: image lists, label files of the classes, and annotations."""

import os
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
from jaxtyping import Int8

from convlens.data.download.catalog import voc_archives
from convlens.data.sources.annotations import Box
from convlens.data.sources.base import join_names, missing_data_error
from convlens.errors import InputError
from convlens.io.names import read_names

CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog"),
    *("horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
_LAYOUT = "<root>/VOC<year>/{Annotations,ImageSets/Main,JPEGImages}"
_ORIGIN = "http://host.robots.ox.ac.uk/pascal/VOC"


class VocObject(NamedTuple):
    """An annotated object; VOC ignores those marked as difficult."""

    box: Box
    difficult: bool

    @property
    def area(self) -> float:
        """Area of the box in square pixels."""
        return (self.box.right - self.box.left) * (self.box.bottom - self.box.top)


class VocDevkit:
    """The files of ``root/VOC<year>/``."""

    def __init__(self, root: str | Path, year: int) -> None:
        self.title, self.year = f"VOC {year}", year
        self.folder = Path(root).expanduser() / f"VOC{year}"
        self.lists = self.folder / "ImageSets/Main"

    def has(self, part: str) -> bool:
        """Return whether there is an image list of this name."""
        return (self.lists / f"{part}.txt").exists()

    def annotated(self, part: str) -> bool:
        """Return whether any image of a list has an annotation."""
        return self.has(part) and any(self._annotation(image).exists() for image in self._listed(part))

    def complete(self, part: str) -> bool:
        """Return whether there is a list of this name and each of its images."""
        return self.has(part) and not self._missing(self._listed(part))

    def images(self, part: str) -> list[str]:
        """Return the identifiers of a list's images.

        Raises:
            InputError: there is no such list, or an image of it is missing.
        """
        images, folder = self._listed(part), self.folder / "JPEGImages"
        if missing := self._missing(images):
            raise InputError(
                f"{self.lists / part}.txt lists images that {folder} does not have: {join_names(missing)}; "
                f"get the whole of {self.title} from {_ORIGIN}"
            )
        return images

    def objects(self, image: str) -> list[VocObject]:
        """Return the objects of an image; VOC counts pixels from 1 and includes the last.

        Raises:
            InputError: the annotation is missing, cannot be parsed or has an object of an unknown class.
        """
        path = self._annotation(image)
        try:
            tree = ElementTree.parse(path)
            found = []
            for element in tree.iter("object"):
                name, box = element.findtext("name", ""), element.find("bndbox")
                if name not in CLASSES or box is None:
                    raise InputError(f"{path}: an object {name!r} without a box, or of no class of VOC")
                edges = [float(box.findtext(edge, "")) for edge in ("xmin", "ymin", "xmax", "ymax")]
                difficult = element.findtext("difficult", "0").strip() == "1"
                found.append(VocObject(Box(name, edges[0] - 1, edges[1] - 1, edges[2], edges[3]), difficult))
        except InputError:
            raise
        except (OSError, ElementTree.ParseError, ValueError, LookupError) as error:
            raise InputError(f"{path} cannot be read: {error}") from error
        return found

    def official_targets(self, part: str, images: list[str]) -> Int8[np.ndarray, "n classes"] | None:
        """Return the targets in the label files of the classes (1, 0, -1); None if a list has no such files.

        Raises:
            InputError: some classes have no file, or a file has no line for an image.
        """
        paths = [self.lists / f"{name}_{part}.txt" for name in CLASSES]
        if missing := [path.name for path in paths if not path.exists()]:
            if len(missing) == len(CLASSES):
                return None
            raise InputError(f"{self.lists} has no {join_names(missing)}: add them, or remove all <class>_{part}.txt")
        targets = np.empty((len(images), len(CLASSES)), np.int8)
        for column, path in enumerate(paths):
            targets_of = _label_file(path)
            if missing := [image for image in images if image not in targets_of]:
                raise InputError(f"{path} has no line for {join_names(missing)}: give it a line for each image")
            targets[:, column] = [targets_of[image] for image in images]
        return targets

    def _annotation(self, image: str) -> Path:
        return self.folder / "Annotations" / f"{image}.xml"

    def _missing(self, images: list[str]) -> list[str]:
        """Return the names of the files of images that are not there."""
        folder = self.folder / "JPEGImages"
        there = {entry.name for entry in os.scandir(folder)} if folder.is_dir() else set()
        return [f"{image}.jpg" for image in images if f"{image}.jpg" not in there]

    def _listed(self, part: str) -> list[str]:
        path = self.lists / f"{part}.txt"
        images = read_names(path).split() if path.exists() else []
        if not images:
            raise missing_data_error(self.title, path, _LAYOUT, _ORIGIN, downloadable=bool(voc_archives(self.year)))
        return images


def derived_targets(objects: list[list[VocObject]]) -> Int8[np.ndarray, "n classes"]:
    """Return targets from annotations: 1 for a class with an object that counts, 0 for difficult ones only, -1 for
    none.
    """
    targets = np.full((len(objects), len(CLASSES)), -1, np.int8)
    for row, of_image in enumerate(objects):
        for one in of_image:
            column = CLASSES.index(one.box.name)
            targets[row, column] = max(targets[row, column], 0 if one.difficult else 1)
    return targets


def _label_file(path: Path) -> dict[str, int]:
    """Read a class's label file: image and target, separated by spaces."""
    targets = {}
    for number, line in enumerate(read_names(path).splitlines(), 1):
        fields = line.split()
        if fields and (len(fields) != 2 or fields[1] not in ("1", "0", "-1")):
            raise InputError(f"{path}, line {number}, is {line.strip()!r}: an image and 1, 0 or -1 would be right")
        if fields:
            targets[fields[0]] = int(fields[1])
    return targets
