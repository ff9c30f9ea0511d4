"""Digests of bytes, text, JSON values, named arrays and files, as hexadecimal strings."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol, runtime_checkable

from convlens.io.names import name_bytes


@runtime_checkable
class SupportsTobytes(Protocol):
    """An array that gives its values as bytes, in C order."""

    def tobytes(self) -> bytes:
        """Return the values."""
        ...


def digest_bytes(*chunks: bytes, size: int = 16) -> str:
    """Return the BLAKE2b digest of the concatenated chunks; ``size`` is the digest's length in bytes."""
    digest = hashlib.blake2b(digest_size=size)
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


def digest_lines(lines: Iterable[str], size: int = 16) -> str:
    """Return the BLAKE2b digest of lines joined by newlines."""
    return digest_bytes(name_bytes("\n".join(lines)), size=size)


def digest_json(value: object, *, sort_keys: bool = False, size: int = 16) -> str:
    """Return the BLAKE2b digest of a value's JSON text."""
    return digest_bytes(json.dumps(value, sort_keys=sort_keys).encode(), size=size)


def digest_named_arrays(arrays: Iterable[tuple[str, SupportsTobytes]]) -> str:
    """Return a digest of arrays and their names, in the given order; equal bytes of other shapes give the same one."""
    digest = hashlib.blake2b(digest_size=16)
    for name, array in arrays:
        digest.update(name_bytes(name))
        digest.update(array.tobytes())
    return digest.hexdigest()


def short_sha256(text: str, length: int) -> str:
    """Return the first ``length`` hexadecimal digits of the SHA-256 digest of a text."""
    return hashlib.sha256(name_bytes(text)).hexdigest()[:length]


def hash_to_int(text: str) -> int:
    """Return a 64-bit integer that depends on the text alone, on any machine and in any process."""
    return int.from_bytes(hashlib.blake2b(name_bytes(text), digest_size=8).digest(), "little")


def file_checksum(path: Path, algorithm: str) -> str:
    """Return a file's checksum with its algorithm in front, such as ``md5:<digits>``."""
    with open(path, "rb") as file:
        return f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"
