"""ImageNet 2012 (ILSVRC classification) in the official layout or in that of Kaggle's archive."""

import csv
import io
from pathlib import Path

from convlens.data.sources.base import (
    Source,
    check_class_folders,
    image_files,
    index_class_folders,
    index_files,
    missing_data_error,
    subfolders,
    whole_split,
)
from convlens.data.splits.split import Split
from convlens.errors import InputError
from convlens.io.names import read_names

_ORIGIN = (
    "https://www.image-net.org/download.php (ILSVRC2012, free account) "
    "or https://www.kaggle.com/c/imagenet-object-localization-challenge"
)
_LAYOUT = "<root>/train/<wnid>/*.JPEG and <root>/val/<wnid>/*.JPEG (or flat val/ with LOC_val_solution.csv in <root>)"


class ImageNet(Source):
    """``root/train/<wnid>/*.JPEG`` and ``root/val/``, in class folders or flat with ``root/LOC_val_solution.csv``.

    The official validation images are the test split, since the official test labels are not public. Kaggle's archive
    is read as it is. Labels follow the sorted wnids; class names come from ``root/LOC_synset_mapping.txt`` if it
    exists. A subset of the classes in the same layout works, too.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser()
        kaggle = self.root / "ILSVRC/Data/CLS-LOC"
        self.images = kaggle if kaggle.is_dir() else self.root

    def class_names(self) -> tuple[str, ...]:
        """Return the first synonym of each wnid, or the wnids."""
        mapping = self.root / "LOC_synset_mapping.txt"
        lines = read_names(mapping).splitlines() if mapping.is_file() else []
        return first_synonyms(self._wnids(), dict(line.split(" ", 1) for line in lines if " " in line))

    def split(self, name: str) -> Split | None:
        """Return the official training images as ``train`` and the official validation images as ``test``."""
        wnids = self._wnids()
        if name == "val":
            return None
        if name == "train":
            return whole_split(index_class_folders("imagenet", self.images, "train", wnids))
        if subfolders(self.images / "val"):
            check_class_folders(self.images / "val", wnids)
            return whole_split(index_class_folders("imagenet", self.images, "val", wnids))
        return self._flat_val_split(wnids)

    def _wnids(self) -> tuple[str, ...]:
        wnids = tuple(subfolders(self.images / "train"))
        if not wnids:
            raise missing_data_error("ImageNet", self.images / "train", _LAYOUT, _ORIGIN)
        return wnids

    def _flat_val_split(self, wnids: tuple[str, ...]) -> Split:
        files = list(image_files(self.images / "val"))
        if not files:
            raise missing_data_error("ImageNet", self.images / "val", _LAYOUT, _ORIGIN)
        solution = self.root / "LOC_val_solution.csv"
        if not solution.is_file():
            raise InputError(
                f"ImageNet: {self.images / 'val'} has no class folders and {solution} is missing; "
                f"the layout is {_LAYOUT}"
            )
        try:
            lines = csv.DictReader(io.StringIO(read_names(solution)))
            answers = {row["ImageId"]: row["PredictionString"].split(" ")[0] for row in lines}
        except (KeyError, AttributeError, csv.Error) as error:  # a column that is missing, or a value
            raise InputError(f"{solution} is no csv with the columns ImageId and PredictionString: {error}") from error
        return whole_split(index_files("imagenet", self.images, label_files(files, answers, wnids, solution)))


def label_files(
    files: list[Path], answers: dict[str, str], wnids: tuple[str, ...], answers_file: Path
) -> list[tuple[Path, int]]:
    """Pair each file with its label, which is looked up by the file's name without extension.

    Raises:
        InputError: a file has no answer, or its class has no training images.
    """
    labels = {wnid: label for label, wnid in enumerate(wnids)}
    for path in files:
        if (wnid := answers.get(path.stem)) not in labels:
            problem = f"gives the class {wnid}, which has no training images," if wnid else "has no line"
            raise InputError(f"{answers_file} {problem} for {path.name}: its image or the line does not belong here")
    return [(path, labels[answers[path.stem]]) for path in files]


def first_synonyms(wnids: tuple[str, ...], names: dict[str, str]) -> tuple[str, ...]:
    """Return the first comma-separated name of each wnid, with the wnid added to names that occur twice (crane)."""
    firsts = [names.get(wnid, wnid).split(",")[0].strip() for wnid in wnids]
    return tuple(
        f"{first} ({wnid})" if firsts.count(first) > 1 else first for wnid, first in zip(wnids, firsts, strict=True)
    )
