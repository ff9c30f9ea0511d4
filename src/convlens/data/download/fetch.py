"""Download of a file: resumes after a lost connection and verifies the checksum."""

import http.client
import os
import re
import shutil
import ssl
import urllib.error
import urllib.request
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import BinaryIO

from tqdm import tqdm

from convlens.errors import InputError
from convlens.io.hashing import file_checksum
from convlens.io.resources import is_disk_full

_CHUNK = 1 << 20
_TIMEOUT = 60.0  # seconds without a byte until a connection counts as lost


def fetch(url: str, path: Path, checksum: str | None = None) -> Path:
    """Download a file unless it exists; one that exists must have the right checksum, if one is published.

    The file grows as ``<path>.part``, which stays after a lost connection. The next call requests the rest, and starts
    again if the server sends something else.

    Args:
        url: http or https address.
        path: path of the file.
        checksum: such as ``md5:<digits>`` or ``sha256:<digits>``; None if none is published.

    Returns:
        The path.

    Raises:
        InputError: the file exists and is another one, the server refuses, the connection is lost, the disk is full, or
            the checksum differs, in which case the part is removed.
    """
    if not url.startswith(("http://", "https://")):
        raise InputError(f"{url} cannot be downloaded: give an address that starts with http:// or https://")
    algorithm = (checksum or "").partition(":")[0]
    if path.is_file():
        if checksum and (found := file_checksum(path, algorithm)) != checksum:
            raise InputError(f"{path} has checksum {found} instead of {checksum}: move it, to have it downloaded again")
        return path
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _receive(url, part)
    except urllib.error.HTTPError as error:
        raise InputError(f"{url} cannot be downloaded: the server answers {error.code} ({error.reason})") from error
    except (urllib.error.URLError, http.client.HTTPException, ssl.SSLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error or type(error).__name__
        raise InputError(f"{url}: no connection ({reason}); {_how_to_continue(part)}") from error
    except OSError as error:
        if is_disk_full(error):
            raise disk_too_small(path.parent) from error
        raise InputError(f"{part} cannot be written ({error.strerror or error})") from error
    if checksum and (found := file_checksum(part, algorithm)) != checksum:
        part.unlink()
        raise InputError(f"{url}: the file has checksum {found} instead of {checksum} and was removed: try again later")
    os.replace(part, path)
    return path


def disk_too_small(folder: Path, needed: int | None = None) -> InputError:
    """Return the error for data that do not fit on a disk."""
    free = f"{shutil.disk_usage(folder).free:,} bytes are free"
    more = f"{needed:,} more are needed and " if needed is not None else ""
    return InputError(f"no room in {folder}: {more}{free}; make room or set data_dir to a larger disk")


def _receive(url: str, part: Path) -> None:
    """Append the missing bytes to the part; start again if the server cannot send the rest."""
    done = part.stat().st_size if part.exists() else 0
    with _request(url, done) as response:
        if response is None:  # the part is complete
            return
        done = done if response.status == http.HTTPStatus.PARTIAL_CONTENT else 0
        length = response.headers.get("Content-Length")
        total = done + int(length) if length else None
        if total is not None and total - done > shutil.disk_usage(part.parent).free:
            raise disk_too_small(part.parent, total - done)
        with open(part, "ab" if done else "wb") as file:
            done += _copy(response, file, done, total, part.name.removesuffix(".part"))
    if total is not None and done < total:
        raise InputError(f"{url}: the connection ended after {done:,} of {total:,} bytes; {_how_to_continue(part)}")


def _request(url: str, done: int) -> AbstractContextManager[http.client.HTTPResponse | None]:
    """Request the bytes of a file from ``done`` on.

    Returns:
        An open response with the rest of the file (206) or all of it (200); None in a context if no byte is left.
    """
    try:
        response = _open(url, done)
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not done:
            raise
        whole = re.fullmatch(r"bytes \*/(\d+)", error.headers.get("Content-Range", ""))
        error.close()
        return nullcontext() if whole and int(whole[1]) == done else _open(url, 0)
    if response.status == http.HTTPStatus.PARTIAL_CONTENT:
        sent = re.match(r"bytes (\d+)-\d+/", response.headers.get("Content-Range", ""))
        if not sent or int(sent[1]) != done:
            response.close()
            return _open(url, 0)
    return response


def _open(url: str, done: int) -> http.client.HTTPResponse:
    # Without compression in transit, so that offsets in the stream are offsets in the file.
    headers = {"User-Agent": "convlens", "Accept-Encoding": "identity"}
    headers |= {"Range": f"bytes={done}-"} if done else {}
    return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT)


def _copy(response: http.client.HTTPResponse, file: BinaryIO, done: int, total: int | None, name: str) -> int:
    """Copy a response to a file and return the number of bytes."""
    written = 0
    with tqdm(total=total, initial=done, desc=name, unit="B", unit_scale=True, disable=None) as bar:
        while chunk := response.read(_CHUNK):
            file.write(chunk)
            written += len(chunk)
            bar.update(len(chunk))
    return written


def _how_to_continue(part: Path) -> str:
    size = part.stat().st_size if part.exists() else 0
    return f"the same command continues from the {size:,} bytes in {part}" if size else "try again later"
