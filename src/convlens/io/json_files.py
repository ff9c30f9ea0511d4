"""JSON files that are written whole and checked when they are read: objects have a checksum as their last entry."""

import json
import logging
import re
from pathlib import Path
from typing import Any

from convlens.errors import DamagedError
from convlens.io.atomic import write_bytes
from convlens.io.hashing import digest_json
from convlens.io.inside import unfit
from convlens.io.names import document_bytes

log = logging.getLogger(__name__)
CHECKSUM = "checksum"
DEEPEST = 50
"""Levels of lists and objects in a file, at most: what goes through them calls itself for each."""


def write_json(path: Path, value: object) -> None:
    """Write a value as indented JSON, whole or not at all; an object gets an entry ``checksum``."""
    if isinstance(value, dict):
        rest = {name: entry for name, entry in value.items() if name != CHECKSUM}
        value = rest | {CHECKSUM: digest_json(rest, size=8)}
    write_bytes(path, document_bytes(json.dumps(value, indent=2, ensure_ascii=False) + "\n"))


def load_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file, without its checksum.

    Objects without a checksum, such as those of version 0.1, are not checked.

    Raises:
        DamagedError: the file holds no JSON object, or another one than was written, or is a link out of its folder.
        OSError: it is missing or cannot be read.
    """
    if reason := unfit(path, path.parent):
        raise DamagedError(f"{path} {reason}")
    try:
        found = parse_json(path.read_bytes())
    except ValueError as error:
        raise DamagedError(f"{path} is damaged ({error})") from None
    if not isinstance(found, dict):
        raise DamagedError(f"{path} is damaged (no object)")
    return without_checksum(path, found)


def parse_json(text: str | bytes, **options: Any) -> Any:
    """Return the value of a JSON text.

    Args:
        text: the text.
        options: those of ``json.loads``.

    Raises:
        ValueError: it is no JSON, or nested more deeply than anything that convlens writes, or has halves of characters
            that cannot be written again.
    """
    try:
        found = json.loads(text, **options)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if _is_deep(found):
        raise ValueError("nested too deeply")
    if re.search(rb"\\u[dD]", text if isinstance(text, bytes) else text.encode(errors="surrogatepass")):
        json.dumps(found, ensure_ascii=False).encode(errors="surrogateescape")  # names of files may hold other bytes
    return found


def _is_deep(value: object) -> bool:
    """Return whether a value has more than `DEEPEST` levels of lists and mappings."""
    level = [value]
    for _ in range(DEEPEST):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return False
    return True


def without_checksum(path: Path, found: dict[str, Any]) -> dict[str, Any]:
    """Return the object that was read from a file without its checksum.

    Raises:
        DamagedError: it is another object than was written.
    """
    rest = {name: value for name, value in found.items() if name != CHECKSUM}
    if CHECKSUM in found and found[CHECKSUM] != digest_json(rest, size=8):
        raise DamagedError(f"{path} is damaged (it is not as it was written)")
    return rest


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; empty if the file is missing or, with a warning, damaged."""
    try:
        return load_json(path)
    except OSError:
        return {}
    except DamagedError as error:
        log.warning("%s: ignored", error)
        return {}
