"""Tell whether the table of a folder of runs is up to date, from the runs' records only."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from convlens.io.json_files import read_json, write_json
from convlens.runs.record_file import read_record

COLLECTED = "results/collect/collected.json"
"""The file that notes which runs are in the table, below the folder of the runs."""


def finished_runs(folder: Path) -> dict[str, int]:
    """Return the finished training runs below a folder: relative directory to modification time of its metrics (ns)."""
    found = {}
    for file in sorted(folder.rglob("run.json")):
        record, metrics = read_record(file.parent), file.parent / "metrics.json"
        if record.get("task") == "train" and record.get("status") == "finished" and metrics.exists():
            found[str(file.parent.relative_to(folder))] = metrics.stat().st_mtime_ns
    return found


def is_collected(folder: Path, loggers: Iterable[object]) -> bool:
    """Return whether the table exists, contains the runs that are finished now, and was sent to these loggers."""
    note = read_json(folder / COLLECTED)
    return (folder / COLLECTED).with_name("table.csv").exists() and note == _note(finished_runs(folder), loggers)


def note_collected(folder: Path, runs: Mapping[str, int], loggers: Iterable[object]) -> None:
    """Note which runs are in the table and which loggers it was sent to.

    Args:
        folder: the folder of the runs.
        runs: as `finished_runs` returned them before the table was made.
        loggers: names of the loggers.
    """
    write_json(folder / COLLECTED, _note(runs, loggers))


def _note(runs: Mapping[str, int], loggers: Iterable[object]) -> dict[str, object]:
    return {"runs": dict(runs), "loggers": sorted({str(name) for name in loggers} - {"csv"})}
