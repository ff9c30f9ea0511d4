"""Where the data sets are that anybody may fetch, and what of their archives goes where."""

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock
from torchvision.datasets import CIFAR10
from torchvision.datasets.voc import DATASET_YEAR_DICT

from convlens.data.download.extract import unpack
from convlens.data.download.fetch import fetch

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Archive:
    """An archive of a data set.

    Attributes:
        url: Where it is.
        checksum: As published, such as `md5:<digits>`; None where none is.
        member: The folder in it that holds the data.
        target: Where that folder goes, below the root of the data set; empty is the root itself.
        inner: An archive in the archive, which holds the member.
    """

    url: str
    checksum: str | None
    member: str
    target: str
    inner: str = ""

    @property
    def file(self) -> str:
        """Name of the archive."""
        return self.url.rpartition("/")[2]


CALTECH_101 = (
    Archive(
        "https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip",
        "md5:3138e1922a9193bfa496528edbbc45d0",
        "101_ObjectCategories",
        "101_ObjectCategories",
        inner="caltech-101/101_ObjectCategories.tar.gz",
    ),
)
CALTECH_256 = (
    Archive(
        "https://data.caltech.edu/records/nyy15-4j048/files/256_ObjectCategories.tar",
        "md5:67b4f42ca05d46448c6bb8ecd2220f6d",
        "256_ObjectCategories",
        "256_ObjectCategories",
    ),
)
CIFAR_10 = (Archive(CIFAR10.url, f"md5:{CIFAR10.tgz_md5}", "cifar-10-batches-py", "cifar-10-batches-py"),)
# Stanford publishes no checksum; each file in a zip has its own, which unpacking checks.
TINY_IMAGENET = (Archive("http://cs231n.stanford.edu/tiny-imagenet-200.zip", None, "tiny-imagenet-200", ""),)


def voc(year: int) -> tuple[Archive, ...]:
    """The archives of a year of PASCAL VOC, of which only 2007 has test images for all; none for an unknown year."""
    of_year = [DATASET_YEAR_DICT[key] for key in (str(year), f"{year}-test") if key in DATASET_YEAR_DICT]
    return tuple(Archive(one["url"], f"md5:{one['md5']}", one["base_dir"], f"VOC{year}") for one in of_year)


def provide(root: Path, archives: tuple[Archive, ...]) -> None:
    """Fetches and unpacks a data set that is not there; one process does it, the others wait.

    The archives are removed once all are unpacked. A folder that is there already is left as it is, whatever it holds.

    Raises:
        InputError: As `fetch` and `unpack`.
    """
    if not archives:
        return
    target = root / archives[0].target
    if _there(target):
        return
    new = not target.parent.exists()
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(target.parent / f".{target.name}.lock")
    try:
        with lock:
            if not _there(target):
                _provide(target, archives)
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        if new and not any(target.parent.iterdir()):
            target.parent.rmdir()


def _provide(target: Path, archives: tuple[Archive, ...]) -> None:
    stage = target.with_name(f".{target.name}.unpacked")
    shutil.rmtree(stage, ignore_errors=True)
    files = []
    for archive in archives:
        if archive.checksum is None:
            log.info("%s has no published checksum: what comes is not compared with one", archive.url)
        files.append(fetch(archive.url, target.parent / archive.file, archive.checksum))
    try:
        for file, archive in zip(files, archives, strict=True):
            unpack(file, stage)
            if archive.inner:
                unpack(stage / archive.inner, stage)
        if target.is_dir():  # and empty
            target.rmdir()
        (stage / archives[0].member).rename(target)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    for file in files:
        file.unlink()
    log.info("fetched and unpacked into %s", target)


def _there(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())
