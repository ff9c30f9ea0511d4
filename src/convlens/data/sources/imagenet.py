"""ImageNet 2012 (ILSVRC classification), as officially unpacked or as Kaggle hands it out."""

import csv
from pathlib import Path

from convlens.data.sources.base import (
    Source,
    absent,
    check_classes,
    class_folders,
    everything,
    file_listing,
    image_files,
    subfolders,
)
from convlens.data.splits.split import Split
from convlens.errors import InputError

_ORIGIN = (
    "https://www.image-net.org/download.php (ILSVRC2012, free account) "
    "or https://www.kaggle.com/c/imagenet-object-localization-challenge"
)
_LAYOUT = "<root>/train/<wnid>/*.JPEG and <root>/val/<wnid>/*.JPEG (or flat val/ with LOC_val_solution.csv in <root>)"


class ImageNet(Source):
    """`root/train/<wnid>/*.JPEG` and `root/val/`, sorted into folders or flat with `root/LOC_val_solution.csv`.

    The official validation images are our test set, since the labels of the official test images are not public.
    Kaggle's archive is read as it is. Labels follow the sorted wnids; names come from `root/LOC_synset_mapping.txt`
    where there is one. A subset of the classes in the same layout will do.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser()
        kaggle = self.root / "ILSVRC/Data/CLS-LOC"
        self.images = kaggle if kaggle.is_dir() else self.root

    def class_names(self) -> tuple[str, ...]:
        """The first synonym of each wnid, or the wnids."""
        mapping = self.root / "LOC_synset_mapping.txt"
        lines = mapping.read_text().splitlines() if mapping.is_file() else []
        return first_synonyms(self._wnids(), dict(line.split(" ", 1) for line in lines if " " in line))

    def split(self, name: str) -> Split | None:
        """Official training images as `train`, official validation images as `test`."""
        wnids = self._wnids()
        if name == "val":
            return None
        if name == "train":
            return everything(class_folders("imagenet", self.images, "train", wnids))
        if subfolders(self.images / "val"):
            check_classes(self.images / "val", wnids)
            return everything(class_folders("imagenet", self.images, "val", wnids))
        return self._flat(wnids)

    def _wnids(self) -> tuple[str, ...]:
        wnids = tuple(subfolders(self.images / "train"))
        if not wnids:
            raise absent("ImageNet", self.images / "train", _LAYOUT, _ORIGIN)
        return wnids

    def _flat(self, wnids: tuple[str, ...]) -> Split:
        files = list(image_files(self.images / "val"))
        if not files:
            raise absent("ImageNet", self.images / "val", _LAYOUT, _ORIGIN)
        solution = self.root / "LOC_val_solution.csv"
        if not solution.is_file():
            raise InputError(f"ImageNet: {self.images / 'val'} is flat and {solution} is missing; {_LAYOUT} is right")
        with open(solution, newline="") as file:
            answers = {row["ImageId"]: row["PredictionString"].split(" ")[0] for row in csv.DictReader(file)}
        return everything(file_listing("imagenet", self.images, labelled(files, answers, wnids, solution)))


def labelled(files: list[Path], answers: dict[str, str], wnids: tuple[str, ...], where: Path) -> list[tuple[Path, int]]:
    """Pairs each file with its label, by the name without extension.

    Raises:
        InputError: A file has no answer, or one that is no class of the training images.
    """
    labels = {wnid: label for label, wnid in enumerate(wnids)}
    for path in files:
        if (wnid := answers.get(path.stem)) not in labels:
            what = f"gives the class {wnid}, of which there are no training images," if wnid else "has no line"
            raise InputError(f"{where} {what} for {path.name}: its image or the line does not belong here")
    return [(path, labels[answers[path.stem]]) for path in files]


def first_synonyms(wnids: tuple[str, ...], names: dict[str, str]) -> tuple[str, ...]:
    """The first of the comma-separated names of each wnid; with the wnid where two would be the same (crane)."""
    firsts = [names.get(wnid, wnid).split(",")[0].strip() for wnid in wnids]
    return tuple(
        f"{first} ({wnid})" if firsts.count(first) > 1 else first for wnid, first in zip(wnids, firsts, strict=True)
    )
