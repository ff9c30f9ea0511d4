"""The file of a run's record (``run.json``), with a copy that takes its place when it is damaged."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convlens.errors import DamagedError
from convlens.io.json_files import load_json, read_json, write_json

log = logging.getLogger(__name__)
RECORD, COPY = "run.json", ".run.json"
TYPES: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("task", "status", "name", "command", "version", "settings", "author"), str),
    **dict.fromkeys(("files", "foreign", "class_names"), list),
    **dict.fromkeys(("choices", "states"), dict),
    "num_classes": int,
    "seconds": (int, float),
}
"""Types of entries; those of another type are not read."""
_told: set[Path] = set()


def read_record(run_dir: Path) -> dict[str, Any]:
    """Return the record of a run; empty if there is none, or if the file and its copy are damaged."""
    return {name: value for name, value in _read(run_dir).items() if isinstance(value, TYPES.get(name, object))}


def _read(run_dir: Path) -> dict[str, Any]:
    path = run_dir / RECORD
    try:
        return load_json(path)
    except OSError:
        return {}
    except DamagedError as error:
        record = read_json(run_dir / COPY)
        if path not in _told:
            _told.add(path)
            log.warning("%s: %s", error, "its copy is used" if record else "ignored, and so is the run")
        return record


def write_record(run_dir: Path, record: Mapping[str, object]) -> None:
    """Write the record of a run and its copy."""
    write_json(run_dir / COPY, record)
    write_json(run_dir / RECORD, record)
