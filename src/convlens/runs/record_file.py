"""The file of a run's record (``run.json``), with a copy that takes its place when it is damaged or missing."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

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
    """Return the record of a run.

    Its copy is read if it is damaged or missing, as where a process was killed between writing the two. If both are
    damaged, the configuration says that there is a run, which counts as failed and has lost the list of its files.
    The record is empty if there is none of them.
    """
    return {name: value for name, value in _read(run_dir).items() if isinstance(value, TYPES.get(name, object))}


def _read(run_dir: Path) -> dict[str, Any]:
    path = run_dir / RECORD
    try:
        return load_json(path)
    except OSError:
        return read_json(run_dir / COPY)
    except DamagedError as error:
        record = read_json(run_dir / COPY) or _rebuilt(run_dir)
        if path not in _told:
            _told.add(path)
            log.warning("%s: %s", error, "its copy is used" if record else "ignored, and so is the run")
        return record


def _rebuilt(run_dir: Path) -> dict[str, Any]:
    """Return what a run's configuration tells of it; empty if there is none of ours."""
    try:
        config = yaml.safe_load((run_dir / "config.yaml").read_text())
        task = config["task"]["_target_"].split(".")
    except (OSError, ValueError, yaml.YAMLError, LookupError, TypeError, AttributeError):
        return {}
    if task[:2] != ["convlens", "tasks"] or not {"model", "data", "recipe", "run_dir", "cache_dir"} <= config.keys():
        return {}
    lost = {"status": "failed", "error": "the record is damaged", "command": "", "settings": "", "foreign": []}
    return {"task": task[2], **lost}


def write_record(run_dir: Path, record: Mapping[str, object]) -> None:
    """Write the record of a run and its copy."""
    write_json(run_dir / COPY, record)
    write_json(run_dir / RECORD, record)
