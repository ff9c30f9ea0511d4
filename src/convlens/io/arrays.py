"""Arrays as npy and npz files, whole or not there, and checked when they are read.

An npy file ends with a checksum, which numpy does not read. Files of npz and torch are zip archives, which have one for
each entry.
"""

import errno
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from numpy.typing import ArrayLike

from convlens.errors import DamagedError
from convlens.io.atomic import replacing
from convlens.io.inside import is_special

LARGE = 2**30
"""Bytes of a file that is read for its check only once, since that takes seconds: its size and time are noted then."""
NOTE = ".checked"
"""Suffix of that note, a file beside the large one."""
_CHECKSUM = struct.Struct("<8sI")
"""Mark, CRC-32 of the bytes before."""
_MARK = b"CRC32\0\0\0"
_checked: dict[tuple[str, int, int], None] = {}
"""Path, size and time of the files that this process has checked."""


def write_array(path: Path, array: ArrayLike) -> Path:
    """Write an array as npy with a checksum, whole or not at all; return the path."""
    with replacing(path) as partial:
        with partial.open("wb") as file:
            np.save(file, array)
        seal(partial)
    return path


def write_arrays(path: Path, arrays: Mapping[str, ArrayLike]) -> Path:
    """Write named arrays as a compressed npz, whole or not at all; return the path."""
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **dict(arrays))  # type: ignore[arg-type]
    return path


def seal(path: Path, crc: int | None = None) -> None:
    """Append a checksum to an npy file that is complete, in place of an earlier one.

    Args:
        path: the file.
        crc: CRC-32 of the file, if it was computed while the file was written.
    """
    with path.open("r+b") as file:
        end = _end(file)
        crc = _crc(file, end) if crc is None else crc
        file.truncate(end)
        file.seek(end)
        file.write(_CHECKSUM.pack(_MARK, crc))
        file.flush()
        os.fsync(file.fileno())


def check_array(path: Path) -> None:
    """Check that an npy file is as it was written; files without a checksum are checked for their size only.

    Raises:
        DamagedError: it is cut short or changed.
        OSError: it is missing or cannot be read.
    """
    if special := is_special(path):
        raise DamagedError(f"{path} {special}")
    with path.open("rb") as file:
        state = os.fstat(file.fileno())
        key = (str(path.absolute()), state.st_size, state.st_mtime_ns)
        if key in _checked:
            return
        with unreadable_is_damaged(path):
            end = _end(file)
        file.seek(max(0, state.st_size - _CHECKSUM.size))
        stored = file.read()
        if not stored.startswith(_MARK):
            stored = b""
        if state.st_size != end + len(stored):
            raise DamagedError(f"{path} is damaged ({state.st_size} bytes, not {end} and a checksum)")
        if stored:
            _, crc = _CHECKSUM.unpack(stored)
            noted = end > LARGE and _is_noted(path)
            if not (noted or _crc(file, end) == crc):
                raise DamagedError(f"{path} is damaged (it is not as it was written)")
            if end > LARGE and not noted:
                _note_checked(path)
    _checked[key] = None


def read_array(path: Path, mmap_mode: Literal["r", "c", "r+"] | None = None) -> np.ndarray:
    """Return the array in an npy file after checking it; no pickled objects are read.

    Raises:
        DamagedError: it is cut short or changed.
        OSError: it is missing or cannot be read.
    """
    check_array(path)
    array: np.ndarray = np.load(path, mmap_mode=mmap_mode, allow_pickle=False)
    return array


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays in an npz file by name; no pickled objects are read.

    Raises:
        DamagedError: it is cut short or changed.
        OSError: it is missing or cannot be read.
    """
    with unreadable_is_damaged(path), np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def check_zip(path: Path) -> None:
    """Check that a file of npz or torch, which are zip archives, is as it was written.

    Raises:
        DamagedError: it is cut short or changed, or no zip archive.
        OSError: it is missing or cannot be read.
    """
    with unreadable_is_damaged(path), zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged:
        raise DamagedError(f"{path} is damaged (its entry {damaged} is not as it was written)")


@contextmanager
def unreadable_is_damaged(path: Path) -> Iterator[None]:
    """Raise `DamagedError` for whatever a reader raises that stumbles over a file, but not for errors of the system.

    Raises:
        DamagedError: the file cannot be read.
        OSError: it is missing, or the system cannot read it.
    """
    if special := is_special(path):
        raise DamagedError(f"{path} {special}")
    try:
        yield
    except Exception as error:  # numpy evaluates a header as Python, zipfile looks for places in the file: anything
        if isinstance(error, OSError) and error.errno not in (errno.EINVAL, None):  # a decompressor's has no number
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        if "pickle" in reason:  # numpy would recommend to load it unsafely
            reason = "it holds pickled objects, which are not read"
        raise DamagedError(f"{path} is damaged ({reason})") from None


def _note_checked(path: Path) -> None:
    """Note size and time of a large file that was checked."""
    with suppress(OSError):  # of somebody else, whose folder is read-only
        path.with_name(path.name + NOTE).write_text(_size_and_time(path))


def _is_noted(path: Path) -> bool:
    """Return whether a large file was checked and has the same size and time since."""
    try:
        return path.with_name(path.name + NOTE).read_text() == _size_and_time(path)
    except (OSError, ValueError):
        return False


def _size_and_time(path: Path) -> str:
    state = path.stat()
    return f"{state.st_size} {state.st_mtime_ns}\n"


def _end(file: BinaryIO) -> int:
    """Return the number of bytes of an npy file's header and array."""
    file.seek(0)
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype.hasobject:
        raise ValueError("pickled")
    return file.tell() + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize


def file_crc(path: Path, end: int) -> int:
    """Return the CRC-32 of the first ``end`` bytes of a file.

    Raises:
        OSError: it is missing or cannot be read.
    """
    with path.open("rb") as file:
        return _crc(file, end)


def _crc(file: BinaryIO, end: int) -> int:
    """Return the CRC-32 of the first ``end`` bytes."""
    file.seek(0)
    crc, left = 0, end
    while left > 0 and (chunk := file.read(min(left, 2**20))):
        crc, left = zlib.crc32(chunk, crc), left - len(chunk)
    return crc
