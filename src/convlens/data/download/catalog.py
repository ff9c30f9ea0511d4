"""Catalog of public data sets: addresses, checksums and layout of their archives."""

import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from torchvision.datasets import CIFAR10
from torchvision.datasets.voc import DATASET_YEAR_DICT

from convlens.data.download.extract import extract_archive
from convlens.data.download.fetch import fetch
from convlens.errors import InputError
from convlens.io.locks import file_lock

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Archive:
    """An archive of a data set.

    Attributes:
        url: address.
        checksum: published checksum, such as ``md5:<digits>``; None without one.
        member: folder in the archive that holds the data.
        target: where that folder goes, below the root of the data set; empty is the root itself.
        inner: archive in the archive that holds the member; empty for none.
    """

    url: str
    checksum: str | None
    member: str
    target: str
    inner: str = ""

    @property
    def file(self) -> str:
        """File name of the archive."""
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
# Stanford publishes no checksum; each file in a zip has its own, which extraction checks.
TINY_IMAGENET = (Archive("http://cs231n.stanford.edu/tiny-imagenet-200.zip", None, "tiny-imagenet-200", ""),)


def voc_archives(year: int) -> tuple[Archive, ...]:
    """Return the archives of a year of PASCAL VOC (only 2007 has public test annotations); none for an unknown year."""
    entries = [DATASET_YEAR_DICT[key] for key in (str(year), f"{year}-test") if key in DATASET_YEAR_DICT]
    return tuple(Archive(one["url"], f"md5:{one['md5']}", one["base_dir"], f"VOC{year}") for one in entries)


def download_archives(root: Path, archives: tuple[Archive, ...]) -> None:
    """Download and extract a data set that is missing; one process does it, the others wait.

    What is downloaded is removed once all is extracted; archives that were there are used and stay. A folder that
    exists and is not empty is kept as it is.

    Args:
        root: folder of the data set.
        archives: its archives; does nothing if there are none.

    Raises:
        InputError: as in ``fetch`` and ``extract_archive``.
    """
    if not archives:
        return
    target = root / archives[0].target
    if _is_filled(target):
        return
    is_new = not target.parent.exists()
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = target.parent / f".{target.name}.lock"
    try:
        with file_lock(lock, f"downloading {target}"):
            if not _is_filled(target):
                _download_and_extract(target, archives)
    finally:
        lock.unlink(missing_ok=True)
        if is_new and not any(target.parent.iterdir()):
            target.parent.rmdir()


def _download_and_extract(target: Path, archives: tuple[Archive, ...]) -> None:
    stage = target.with_name(f".{target.name}.extracted")
    shutil.rmtree(stage, ignore_errors=True)
    files = [target.parent / archive.file for archive in archives]
    given = [file for file in files if os.path.lexists(file)]
    for file, archive in zip(files, archives, strict=True):
        if archive.checksum is None:
            log.info("%s has no published checksum: the download is not verified", archive.url)
        fetch(archive.url, file, archive.checksum)
    try:
        for file, archive in zip(files, archives, strict=True):
            extract_archive(file, stage)
            if archive.inner:
                extract_archive(stage / archive.inner, stage)
        if target.is_dir():  # an empty folder
            target.rmdir()
        (stage / archives[0].member).rename(target)
    except InputError:
        for file, archive in zip(files, archives, strict=True):
            if archive.checksum is None and file not in given:  # it may be damaged, and would be used the next time
                file.unlink()
        raise
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    for file in files:
        if file not in given:
            file.unlink()
    log.info("downloaded and extracted into %s", target)


def _is_filled(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())
