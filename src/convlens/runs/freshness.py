"""Which finished runs the table in a folder is made of, without reading more than their records."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from convlens.io.atomic import write_json
from convlens.runs.record import read_json

COLLECTED = "results/collect/collected.json"


def finished_runs(folder: Path) -> dict[str, int]:
    """When the finished training runs below a folder were tested, by directory."""
    found = {}
    for file in sorted(folder.rglob("run.json")):
        record, metrics = read_json(file), file.parent / "metrics.json"
        if record.get("task") == "train" and record.get("status") == "finished" and metrics.exists():
            found[str(file.parent.relative_to(folder))] = metrics.stat().st_mtime_ns
    return found


def _what(runs: dict[str, int], loggers: Iterable[Any]) -> dict[str, Any]:
    return {"runs": runs, "loggers": sorted({str(name) for name in loggers} - {"csv"})}


def is_collected(folder: Path, loggers: Iterable[Any]) -> bool:
    """Whether the folder's table is there, made of the runs that are finished now, and shown in these loggers."""
    there = read_json(folder / COLLECTED)
    return (folder / COLLECTED).with_name("table.csv").exists() and there == _what(finished_runs(folder), loggers)


def keep_collected(folder: Path, runs: dict[str, int], loggers: Iterable[Any]) -> None:
    """Note of which runs the table was made, once it is there and shown."""
    write_json(folder / COLLECTED, _what(runs, loggers))
