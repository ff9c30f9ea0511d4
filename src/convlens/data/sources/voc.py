"""PASCAL VOC as images of one object each, with the boxes of all: for the analyses that ask where a network looks."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from convlens.data.annotated import AnnotatedListing, Box
from convlens.data.archives import voc
from convlens.data.sources.base import Source, absent
from convlens.data.splits import Split
from convlens.errors import InputError

CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog"),
    *("horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
_LAYOUT = "<root>/VOC<year>/{Annotations,ImageSets/Main,JPEGImages}"
_ORIGIN = "http://host.robots.ox.ac.uk/pascal/VOC"


class VocObjects(Source):
    """`root/VOC<year>/`, the devkit's layout; the label of an image is the class of its largest object.

    The training images are those of `train`; the test images those of `test` where the year has them, else of `val`.
    Regions: `object` is all objects together, and each class that is there is one by its name. Objects marked as
    difficult are left out, and so are images that have no other.
    """

    def __init__(self, root: str | Path, year: int = 2007) -> None:
        self.root = Path(root).expanduser()
        self.year = year
        self.archives = voc(year)

    def class_names(self) -> tuple[str, ...]:
        """The twenty classes."""
        return CLASSES

    def split(self, name: str) -> Split | None:
        """The images of a list of the devkit."""
        folder = self.root / f"VOC{self.year}"
        has_test = (folder / "ImageSets/Main/test.txt").exists()
        if name == "val" and not has_test:
            return None
        listing = folder / "ImageSets/Main" / f"{name if has_test or name != 'test' else 'val'}.txt"
        if not listing.exists():
            raise absent(f"VOC {self.year}", listing, _LAYOUT, _ORIGIN, fetched=bool(self.archives))
        names, labels, shapes = [], [], []
        for image in listing.read_text().split():
            boxes = _objects(folder / "Annotations" / f"{image}.xml")
            if boxes:
                largest = max(boxes, key=lambda box: (box.right - box.left) * (box.bottom - box.top))
                names.append(f"JPEGImages/{image}.jpg")
                labels.append(CLASSES.index(largest.name))
                shapes.append([*boxes, *(box._replace(name="object") for box in boxes)])
        found = AnnotatedListing(f"voc{self.year}-{name}", names, np.array(labels, np.int64), folder, shapes)
        return Split(found, np.arange(len(names)))


def _objects(path: Path) -> list[Box]:
    """The objects of an annotation that are not difficult; VOC counts pixels from 1 and includes the last."""
    try:
        tree = ElementTree.parse(path)
        found = []
        for thing in tree.iter("object"):
            name, box = thing.findtext("name", ""), thing.find("bndbox")
            if name not in CLASSES or box is None:
                raise InputError(f"{path}: an object {name!r} without a box, or of no class of VOC")
            if thing.findtext("difficult", "0").strip() != "1":
                edges = [float(box.findtext(edge, "nan")) for edge in ("xmin", "ymin", "xmax", "ymax")]
                found.append(Box(name, edges[0] - 1, edges[1] - 1, edges[2], edges[3]))
    except (OSError, ElementTree.ParseError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    return found
