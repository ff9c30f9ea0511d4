"""Tiny-ImageNet: 200 classes of 64 x 64 pixel images, in the official layout."""

from pathlib import Path

from convlens.data.download.catalog import TINY_IMAGENET
from convlens.data.sources.base import Source, image_files, index_files, join_names, missing_data_error, whole_split
from convlens.data.sources.imagenet import first_synonyms, label_files
from convlens.data.splits.split import Split
from convlens.errors import InputError
from convlens.io.names import read_names

_ORIGIN = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
_LAYOUT = "<root>/{wnids.txt,words.txt,train/<wnid>/images/*.JPEG,val/images/*.JPEG,val/val_annotations.txt}"


class TinyImageNet(Source):
    """``wnids.txt``, ``words.txt``, ``train/<wnid>/images/`` and ``val/images/`` with ``val/val_annotations.txt``.

    The official validation images are the test split, since the official test labels are not public. Labels follow the
    sorted wnids, not the order of the lines of ``wnids.txt``.
    """

    archives = TINY_IMAGENET

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser()

    def class_names(self) -> tuple[str, ...]:
        """Return the first synonym of each wnid in ``words.txt``."""
        lines = self._read_text("words.txt").splitlines()
        return first_synonyms(self._wnids(), dict(line.split("\t", 1) for line in lines if "\t" in line))

    def split(self, name: str) -> Split | None:
        """Return the official training images as ``train`` and the official validation images as ``test``."""
        if name == "val":
            return None
        return whole_split(
            index_files("tiny-imagenet", self.root, self._train_files() if name == "train" else self._test_files())
        )

    def _train_files(self) -> list[tuple[Path, int]]:
        wnids = self._wnids()
        files = [list(image_files(self.root / "train" / wnid)) for wnid in wnids]
        if empty := [wnid for wnid, found in zip(wnids, files, strict=True) if not found]:
            raise InputError(f"no image in {self.root}/train/<wnid>/images for {join_names(empty)}: fill the folders")
        return [(path, label) for label, found in enumerate(files) for path in found]

    def _test_files(self) -> list[tuple[Path, int]]:
        annotations = [line.split("\t") for line in self._read_text("val/val_annotations.txt").splitlines()]
        answers = {Path(fields[0]).stem: fields[1] for fields in annotations if len(fields) > 1}
        files = list(image_files(self.root / "val/images"))
        if not files:
            raise missing_data_error("Tiny-ImageNet", self.root / "val/images", _LAYOUT, _ORIGIN, downloadable=True)
        return label_files(files, answers, self._wnids(), self.root / "val/val_annotations.txt")

    def _wnids(self) -> tuple[str, ...]:
        return tuple(sorted(self._read_text("wnids.txt").split()))

    def _read_text(self, name: str) -> str:
        path = self.root / name
        text = read_names(path) if path.is_file() else ""
        if not text.strip():
            raise missing_data_error("Tiny-ImageNet", path, _LAYOUT, _ORIGIN, downloadable=True)
        return text
