"""Extraction of downloaded archives: nothing is written outside of the folder, nothing stays after an error."""

import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from convlens.data.download.fetch import disk_too_small
from convlens.errors import InputError
from convlens.io.resources import is_disk_full

_DAMAGED = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
    *(EOFError, RuntimeError, UnicodeError, KeyError),
)


def extract_archive(archive: Path, folder: Path) -> None:
    """Extract a zip, tar or compressed tar into a folder; files that are there already are kept.

    Tar archives go through tarfile's data filter. Neither format may have entries with ``..``, an absolute path or a
    path through one of its links; zip archives may have no links.

    Raises:
        InputError: an entry points outside of the folder or is neither file, folder nor link; the archive is damaged;
            or the disk is full.
    """
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        if zipfile.is_zipfile(archive):
            _extract_zip(archive, partial)
        elif tarfile.is_tarfile(archive):
            _extract_tar(archive, partial)
        else:
            raise InputError(f"{archive} is no zip or tar archive, or damaged: remove it and download it again")
        _move_into(partial, folder)
    except _DAMAGED as error:
        reason = str(error) or type(error).__name__
        raise InputError(f"{archive} is damaged ({reason}): remove it and download it again") from error
    except OSError as error:
        if is_disk_full(error):
            raise disk_too_small(folder.parent) from error
        raise InputError(f"{archive} cannot be extracted into {folder} ({error.strerror or error})") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _extract_zip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as opened:
        for entry in tqdm(opened.infolist(), desc=f"extracting {archive.name}", unit="file", disable=None):
            if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _refuse(archive, entry.filename, "is neither a file nor a folder")
            _check_path(archive, entry.filename, set())
            opened.extract(entry, folder)


def _extract_tar(archive: Path, folder: Path) -> None:
    links: set[PurePosixPath] = set()
    with tarfile.open(archive) as opened:
        for entry in tqdm(opened, desc=f"extracting {archive.name}", unit="file", disable=None):
            path = _check_path(archive, entry.name, links)
            if entry.islnk():  # releases of Python before June 2025 follow some links out of the folder
                _check_path(archive, entry.linkname, links)
            try:
                opened.extract(entry, folder, filter="data")
            except tarfile.FilterError as error:
                raise _refuse(archive, entry.name, f"is refused ({error})") from error
            if entry.issym():
                links.add(path)


def _check_path(archive: Path, name: str, links: set[PurePosixPath]) -> PurePosixPath:
    """Return an entry's path, without regard to case, below the folder.

    Raises:
        InputError: it leads outside by the rules of any system, or through a link of the archive.
    """
    path = PurePosixPath(name.casefold())
    has_drive = "\\" in name or ":" in (path.parts or ("",))[0] or "\0" in name
    if path.is_absolute() or ".." in path.parts or has_drive or links & {path, *path.parents}:
        raise _refuse(archive, name, "would be written outside of the folder")
    return path


def _refuse(archive: Path, name: str, reason: str) -> InputError:
    return InputError(f"{archive}: its entry {name!r} {reason}: do not use this archive")


def _move_into(source: Path, folder: Path) -> None:
    """Move the content of a folder into another, keeping what is there."""
    if not folder.exists():
        os.rename(source, folder)
        return
    for entry in sorted(source.iterdir()):
        target = folder / entry.name
        if entry.is_dir() and not entry.is_symlink() and target.is_dir():
            _move_into(entry, target)
        else:
            os.replace(entry, target)
