"""The devkit of PASCAL VOC: lists of images, label files of the classes, and annotations."""

import os
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
from jaxtyping import Int8

from convlens.data.download.catalog import voc
from convlens.data.sources.annotations import Box
from convlens.data.sources.base import absent, listed
from convlens.errors import InputError

CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog"),
    *("horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
_LAYOUT = "<root>/VOC<year>/{Annotations,ImageSets/Main,JPEGImages}"
_ORIGIN = "http://host.robots.ox.ac.uk/pascal/VOC"


class Thing(NamedTuple):
    """An object of an annotation; the difficult ones do not count in VOC."""

    box: Box
    difficult: bool

    @property
    def area(self) -> float:
        """Of the box, in pixels."""
        return (self.box.right - self.box.left) * (self.box.bottom - self.box.top)


class Devkit:
    """`root/VOC<year>/`."""

    def __init__(self, root: str | Path, year: int) -> None:
        self.title, self.year = f"VOC {year}", year
        self.folder = Path(root).expanduser() / f"VOC{year}"
        self.lists = self.folder / "ImageSets/Main"

    def has(self, part: str) -> bool:
        """Whether there is a list of the images of a part."""
        return (self.lists / f"{part}.txt").exists()

    def annotated(self, part: str) -> bool:
        """Whether any image of a part has an annotation."""
        return self.has(part) and any(self._annotation(image).exists() for image in self._listed(part))

    def images(self, part: str) -> list[str]:
        """The numbers of the images of a part.

        Raises:
            InputError: There is no such list, or an image of it is missing.
        """
        images, folder = self._listed(part), self.folder / "JPEGImages"
        there = {entry.name for entry in os.scandir(folder)} if folder.is_dir() else set()
        if missing := [f"{image}.jpg" for image in images if f"{image}.jpg" not in there]:
            raise InputError(
                f"{self.lists / part}.txt lists images that {folder} does not have: {listed(missing)}; "
                f"get the whole of {self.title} from {_ORIGIN}"
            )
        return images

    def things(self, image: str) -> list[Thing]:
        """The objects of an image; VOC counts pixels from 1 and includes the last.

        Raises:
            InputError: The annotation is missing, cannot be parsed or has an object that VOC does not know.
        """
        path = self._annotation(image)
        try:
            tree = ElementTree.parse(path)
            found = []
            for thing in tree.iter("object"):
                name, box = thing.findtext("name", ""), thing.find("bndbox")
                if name not in CLASSES or box is None:
                    raise InputError(f"{path}: an object {name!r} without a box, or of no class of VOC")
                edges = [float(box.findtext(edge, "")) for edge in ("xmin", "ymin", "xmax", "ymax")]
                difficult = thing.findtext("difficult", "0").strip() == "1"
                found.append(Thing(Box(name, edges[0] - 1, edges[1] - 1, edges[2], edges[3]), difficult))
        except InputError:
            raise
        except (OSError, ElementTree.ParseError, ValueError) as error:
            raise InputError(f"{path} cannot be read: {error}") from error
        return found

    def official_targets(self, part: str, images: list[str]) -> Int8[np.ndarray, "n classes"] | None:
        """What the label files of the classes say (1, 0, -1); None where a part has none of these files.

        Raises:
            InputError: Only some classes have a file, or a file says nothing of an image.
        """
        paths = [self.lists / f"{name}_{part}.txt" for name in CLASSES]
        if missing := [path.name for path in paths if not path.exists()]:
            if len(missing) == len(CLASSES):
                return None
            raise InputError(f"{self.lists} has no {listed(missing)}: add them, or remove all <class>_{part}.txt")
        targets = np.empty((len(images), len(CLASSES)), np.int8)
        for column, path in enumerate(paths):
            said = _label_file(path)
            if absentees := [image for image in images if image not in said]:
                raise InputError(f"{path} says nothing of {listed(absentees)}: it should have a line for each image")
            targets[:, column] = [said[image] for image in images]
        return targets

    def _annotation(self, image: str) -> Path:
        return self.folder / "Annotations" / f"{image}.xml"

    def _listed(self, part: str) -> list[str]:
        path = self.lists / f"{part}.txt"
        images = path.read_text().split() if path.exists() else []
        if not images:
            raise absent(self.title, path, _LAYOUT, _ORIGIN, fetched=bool(voc(self.year)))
        return images


def derived_targets(things: list[list[Thing]]) -> Int8[np.ndarray, "n classes"]:
    """What the annotations say: 1 where an object of the class counts, 0 where all are difficult, -1 without any."""
    targets = np.full((len(things), len(CLASSES)), -1, np.int8)
    for row, of_image in enumerate(things):
        for thing in of_image:
            column = CLASSES.index(thing.box.name)
            targets[row, column] = max(targets[row, column], 0 if thing.difficult else 1)
    return targets


def _label_file(path: Path) -> dict[str, int]:
    """The number of each image in the file of a class; the columns are separated by one space or several."""
    said = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        fields = line.split()
        if fields and (len(fields) != 2 or fields[1] not in ("1", "0", "-1")):
            raise InputError(f"{path}, line {number}, is {line.strip()!r}: an image and 1, 0 or -1 would be right")
        if fields:
            said[fields[0]] = int(fields[1])
    return said
