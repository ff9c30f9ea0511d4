"""What a folder of results holds, without what two equal commands may differ in: times, digests of files, logs."""

import csv
import json
from pathlib import Path

import numpy as np
import torch

VOLATILE = {"seconds", "checksum", "states", "fit_seconds", "mtime_ns", "runs", "updated_at", "crc32", "shards"}
NAMED = (".lock", "wandb", "multirun.yaml", "sweeps/")
"""Parts of the names of logs, locks and records of sweeps, which hold times and processes."""
SKIPPED = {".log", ".txt", ".html", ".lock", ".holder"}


def content(folder: Path) -> dict[str, object]:
    """Return the content of each file below a folder by its relative path."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        named = not any(part in name for part in NAMED)
        if path.is_file() and path.suffix not in SKIPPED and named:
            found[name] = _content(path)
    return found


def _content(path: Path) -> object:
    if path.suffix == ".json":
        return _plain(json.loads(path.read_text()))
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return {name: (str(arrays[name].dtype), arrays[name].tolist()) for name in arrays.files}
    if path.suffix == ".npy":
        return np.load(path).tobytes()
    if path.suffix == ".ckpt":
        state = torch.load(path, weights_only=True)
        return {name: value.tolist() for name, value in state["state_dict"].items()}, state["epoch"]
    if path.suffix == ".csv":
        rows = list(csv.DictReader(path.read_text().splitlines()))
        return [{name: cell for name, cell in row.items() if name not in VOLATILE} for row in rows]
    return path.read_bytes()


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items() if name not in VOLATILE}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value


def differences(one: dict[str, object], other: dict[str, object]) -> list[str]:
    """Return the files that differ or that only one side has; hidden ones only if they are not locks or copies."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
