"""A file from the network: goes on where it was cut off, and is checked before it gets its name."""

import errno
import hashlib
import http.client
import os
import re
import shutil
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import BinaryIO

from tqdm import tqdm

from convlens.errors import InputError

_CHUNK = 1 << 20
_SILENCE = 60.0  # seconds without a byte after which a connection counts as lost


def fetch(url: str, path: Path, checksum: str | None = None) -> Path:
    """Fetches a file, unless it is there with the right checksum; returns its path.

    It grows as `<path>.part`, which stays after a lost connection; the next call asks the server for the rest, and
    begins anew where the server sends something else.

    Args:
        url: http or https.
        path: Of the file.
        checksum: Such as `md5:<digits>` or `sha256:<digits>`; None where none is published.

    Raises:
        InputError: The server refuses, the connection is lost, the disk is full, or the checksum is another; in this
            last case the part is removed.
    """
    if not url.startswith(("http://", "https://")):
        raise InputError(f"{url} cannot be fetched: give an address that begins with http:// or https://")
    if path.is_file() and checksum and digest(path, checksum) == checksum:
        return path
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _receive(url, part)
    except urllib.error.HTTPError as error:
        raise InputError(f"{url} cannot be fetched: the server answers {error.code} ({error.reason})") from error
    except (urllib.error.URLError, http.client.HTTPException, ssl.SSLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error or type(error).__name__
        raise InputError(f"{url}: no connection ({reason}); {_kept(part)}") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise no_room(path.parent) from error
        raise InputError(f"{part} cannot be written ({error.strerror or error})") from error
    if checksum and (found := digest(part, checksum)) != checksum:
        part.unlink()
        raise InputError(f"{url}: what came has {found} and not {checksum}: it is removed, try again later")
    os.replace(part, path)
    return path


def digest(path: Path, like: str) -> str:
    """The checksum of a file, of the same kind as another, such as `md5:<digits>`."""
    kind = like.partition(":")[0]
    with open(path, "rb") as file:
        return f"{kind}:{hashlib.file_digest(file, kind).hexdigest()}"


def no_room(folder: Path, need: int | None = None) -> InputError:
    """What to say when data do not fit on a disk."""
    free = f"{shutil.disk_usage(folder).free:,} bytes are free"
    wanted = f"{need:,} more are needed and " if need is not None else ""
    return InputError(f"no room in {folder}: {wanted}{free}; make room or set data_dir to a larger disk")


def _receive(url: str, part: Path) -> None:
    """Appends to the part what it lacks; writes it anew where the server cannot send the rest."""
    done = part.stat().st_size if part.exists() else 0
    with _answer(url, done) as answer:
        if answer is None:  # the part is whole
            return
        done = done if answer.status == http.HTTPStatus.PARTIAL_CONTENT else 0
        length = answer.headers.get("Content-Length")
        total = done + int(length) if length else None
        if total is not None and total - done > shutil.disk_usage(part.parent).free:
            raise no_room(part.parent, total - done)
        with open(part, "ab" if done else "wb") as file:
            done += _copy(answer, file, done, total, part.name.removesuffix(".part"))
    if total is not None and done < total:
        raise InputError(f"{url}: the connection ended after {done:,} of {total:,} bytes; {_kept(part)}")


class _Answer:
    """An open answer that is the rest of a file (206) or all of it (200); None where no rest is left."""

    def __init__(self, response: http.client.HTTPResponse | None) -> None:
        self.response = response

    def __enter__(self) -> http.client.HTTPResponse | None:
        return self.response

    def __exit__(self, *_: object) -> None:
        if self.response is not None:
            self.response.close()


def _answer(url: str, done: int) -> _Answer:
    try:
        response = _open(url, done)
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not done:
            raise
        whole = re.fullmatch(r"bytes \*/(\d+)", error.headers.get("Content-Range", ""))
        error.close()
        return _Answer(None) if whole and int(whole[1]) == done else _Answer(_open(url, 0))
    if response.status == http.HTTPStatus.PARTIAL_CONTENT:
        sent = re.match(r"bytes (\d+)-\d+/", response.headers.get("Content-Range", ""))
        if not sent or int(sent[1]) != done:
            response.close()
            return _Answer(_open(url, 0))
    return _Answer(response)


def _open(url: str, done: int) -> http.client.HTTPResponse:
    # Without compression on the way, so that a place in the file is a place in the stream.
    headers = {"User-Agent": "convlens", "Accept-Encoding": "identity"}
    headers |= {"Range": f"bytes={done}-"} if done else {}
    return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_SILENCE)


def _copy(answer: http.client.HTTPResponse, file: BinaryIO, done: int, total: int | None, name: str) -> int:
    """Bytes that were written."""
    written = 0
    with tqdm(total=total, initial=done, desc=name, unit="B", unit_scale=True, disable=None) as bar:
        while chunk := answer.read(_CHUNK):
            file.write(chunk)
            written += len(chunk)
            bar.update(len(chunk))
    return written


def _kept(part: Path) -> str:
    there = part.stat().st_size if part.exists() else 0
    return f"the same command goes on from the {there:,} bytes in {part}" if there else "try again later"
