"""Archives of others: nothing is written outside of the folder, and nothing half-unpacked stays behind."""

import errno
import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from tqdm import tqdm

from convlens.data.download.fetch import no_room
from convlens.errors import InputError

_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, UnicodeError)


class Entry(NamedTuple):
    """One entry of an archive; `kind` is file, folder, link (symbolic), hard, or something else that is refused."""

    name: str
    kind: str
    target: str
    open: Callable[[], IO[bytes] | None]


def unpack(archive: Path, folder: Path) -> None:
    """Unpacks a zip, tar or compressed tar into a folder; what the folder holds already is kept.

    All is written to a folder beside it, then renamed (or moved, entry by entry, where the folder is there already).

    Raises:
        InputError: An entry points outside of the folder or is neither file, folder nor link; the archive is damaged;
            or the disk is full.
    """
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        _write_all(archive, partial)
        _move_into(partial, folder)
    except _DAMAGED as error:
        raise InputError(f"{archive} is damaged ({error or type(error).__name__}): remove it, fetch it anew") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise no_room(folder.parent) from error
        raise InputError(f"{archive} cannot be unpacked into {folder} ({error.strerror or error})") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write_all(archive: Path, folder: Path) -> None:
    links: set[PurePosixPath] = set()
    for entry in tqdm(_entries(archive), desc=f"unpacking {archive.name}", unit="file", disable=None):
        path = _inside(archive, entry, links)
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if entry.kind == "folder":
            place.mkdir(exist_ok=True)
        elif entry.kind == "link":
            place.symlink_to(entry.target)
            links.add(_folded(path))
        elif entry.kind == "hard":
            os.link(folder / entry.target, place)
        else:
            _write(entry, place)


def _write(entry: Entry, place: Path) -> None:
    source = entry.open()
    assert source is not None
    with source, open(place, "wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)


def _inside(archive: Path, entry: Entry, links: set[PurePosixPath]) -> PurePosixPath:
    """The entry's path below the folder.

    A path must not lead through a link of the archive, and a link's target has its `..` in front: so each step of a
    path is what it looks like, and to look at the names is enough.

    Raises:
        InputError: The path leads outside, or may.
    """
    path = _relative(entry.name)
    if path is None or (folded := _folded(path)) in links or links & set(folded.parents):
        raise _refused(archive, entry, "would be written outside of the folder")
    if entry.kind not in ("file", "folder", "link", "hard"):
        raise _refused(archive, entry, "is no file, folder or link")
    if entry.kind == "link":
        tidy = os.path.normpath(entry.target) == entry.target.rstrip("/")
        if not tidy or _relative(os.path.normpath(path.parent / entry.target)) is None:
            raise _refused(archive, entry, f"is a link to {entry.target}, outside of the folder")
    if entry.kind == "hard":
        target = _relative(entry.target)
        if target is None or links & {_folded(target), *_folded(target).parents}:
            raise _refused(archive, entry, f"is a link to {entry.target}, outside of the folder")
    return path


def _folded(path: PurePosixPath) -> PurePosixPath:
    """As a file system compares names that takes capitals for small letters."""
    return PurePosixPath(str(path).casefold())


def _relative(name: str) -> PurePosixPath | None:
    """A path below the folder; None if it is none, by the rules of any system."""
    path = PurePosixPath(name)
    drive = "\\" in name or ":" in (path.parts or ("",))[0] or "\0" in name
    return None if path.is_absolute() or ".." in path.parts or drive else path


def _refused(archive: Path, entry: Entry, why: str) -> InputError:
    return InputError(f"{archive}: its entry {entry.name!r} {why}: the archive is not what it should be, do not use it")


def _entries(archive: Path) -> Iterator[Entry]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            yield from (_of_zip(opened, info) for info in opened.infolist())
    elif tarfile.is_tarfile(archive):
        with tarfile.open(archive) as tar:
            yield from (_of_tar(tar, member) for member in tar)
    else:
        raise InputError(f"{archive} is no zip or tar archive, or damaged: remove it, fetch it anew")


def _of_zip(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Entry:
    mode = stat.S_IFMT(info.external_attr >> 16)
    kinds = {0: "file", stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link"}
    kind = "folder" if info.is_dir() else kinds.get(mode, "other")
    target = archive.read(info).decode() if kind == "link" else ""
    return Entry(info.filename, kind, target, lambda: archive.open(info))


def _of_tar(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Entry:
    kinds = {"folder": member.isdir(), "link": member.issym(), "hard": member.islnk(), "file": member.isreg()}
    kind = next((name for name, true in kinds.items() if true), "other")
    return Entry(member.name, kind, member.linkname, lambda: archive.extractfile(member))


def _move_into(source: Path, folder: Path) -> None:
    if not folder.exists():
        os.rename(source, folder)
        return
    for entry in sorted(source.iterdir()):
        place = folder / entry.name
        if entry.is_dir() and not entry.is_symlink() and place.is_dir():
            _move_into(entry, place)
        else:
            os.replace(entry, place)
