"""Run directories to records. What is missing or broken becomes a line in `problems`, never an exception."""

import csv
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from convlens.report.study_record import ClaimRecord, History, Number, Part, Picture, Result, Run, Study, Table


def text(value: Any) -> str:
    """A string for whatever a JSON file holds; nothing for null."""
    return "" if value is None else str(value)


def real(value: Any) -> float | None:
    """A float, which may be NaN, or None for what is no number."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def objects(value: Any, where: str, problems: list[str]) -> list[dict[str, Any]]:
    """The objects of a JSON list; anything else is reported and left out."""
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        problems.append(f"{where} is not a list of objects")
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def read_text(path: Path, problems: list[str] | None = None) -> str:
    """The text of a file, unreadable bytes replaced; empty, and a problem, if the file cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        reason = "missing"
    except (OSError, ValueError) as error:  # ValueError: no such path is possible
        reason = str(error)
    if problems is not None:
        problems.append(f"{path}: {reason}")
    return ""


def read_json(path: Path, problems: list[str]) -> dict[str, Any]:
    """The object in a JSON file, empty if there is none."""
    content = read_text(path, problems)
    if not content:
        if path.is_file():
            problems.append(f"{path}: empty")
        return {}
    try:
        # a number too long for a float is infinite, not an error further on
        found = json.loads(content, parse_int=lambda digits: int(digits) if len(digits) < 300 else float(digits))
    except ValueError as error:
        problems.append(f"{path}: not JSON ({error})")
        return {}
    if not isinstance(found, dict):
        problems.append(f"{path}: holds no JSON object")
        return {}
    return found


def read_history(path: Path, problems: list[str]) -> History:
    """The columns of metrics.csv by epoch. Rows of the same epoch are merged, the last cell that is filled counts."""
    history: History = {}
    lines = read_text(path, problems).splitlines()
    if not lines and path.is_file():
        problems.append(f"{path}: empty")
    skipped = 0
    for row in _rows(lines, path, problems):
        epoch = _cell(row.get("epoch"))
        if epoch is None or not epoch.is_integer():
            skipped += 1
            continue
        for column, content in row.items():
            value = _cell(content)
            if column not in (None, "epoch") and value is not None:
                history.setdefault(column, {})[int(epoch)] = value
    if skipped:
        problems.append(f"{path}: {skipped} rows without a whole number in the column 'epoch' were left out")
    return history


def _rows(lines: list[str], path: Path, problems: list[str]) -> list[dict[str, Any]]:
    try:
        return list(csv.DictReader(lines))
    except csv.Error as error:
        problems.append(f"{path}: not a table ({error})")
        return []


def _cell(content: Any) -> float | None:
    try:
        return float(content)
    except (TypeError, ValueError):
        return None


def read_result(path: Path, problems: list[str]) -> Result | None:
    """One result.json; None if nothing can be read from it."""
    found = read_json(path, problems)
    if not found:
        return None
    figures = [
        Picture(
            path.parent / text(item.get("file")), text(item.get("caption")), text(item.get("key") or item.get("file"))
        )
        for item in objects(found.get("figures"), f"{path}: figures", problems)
    ]
    numbers = [
        Number(text(item.get("name")), item.get("value"), text(item.get("unit")), item.get("spread"))
        for item in objects(found.get("numbers"), f"{path}: numbers", problems)
    ]
    tables = [_table(item, path, problems) for item in objects(found.get("tables"), f"{path}: tables", problems)]
    analysis = text(found.get("analysis")) or path.parent.name
    order = real(found.get("order"))
    return Result(
        analysis=analysis,
        title=text(found.get("title")) or analysis,
        reproduces=text(found.get("reproduces")),
        order=order if order is not None and math.isfinite(order) else math.inf,
        text=text(found.get("text")),
        numbers=numbers,
        figures=figures,
        tables=tables,
        claims=[_claim(item) for item in objects(found.get("claims"), f"{path}: claims", problems)],
    )


def _claim(item: Mapping[str, Any]) -> ClaimRecord:
    number, controls = real(item.get("number")), item.get("controls")
    named = controls.items() if isinstance(controls, dict) else ()
    texts = ("claim", "place", "about", "statistic", "estimate", "units", "paper", "verdict", "refuted_if")
    return ClaimRecord(
        number=int(number) if number is not None and math.isfinite(number) else 0,
        controls="; ".join(f"{name}: {text(value)}" for name, value in named),
        **{name: text(item.get(name)) for name in texts},
    )


def _table(item: Mapping[str, Any], path: Path, problems: list[str]) -> Table:
    title, columns, rows = text(item.get("title")), item.get("columns"), item.get("rows")
    if not isinstance(columns, list) or not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        problems.append(f"{path}: the table {title!r} has no list of columns or no list of rows")
        return Table(title, [], [])
    width = len(columns)
    # short rows are filled up, so that a cell always stands under its column
    return Table(title, [text(column) for column in columns], [(row + [None] * width)[:width] for row in rows])


def read_run(directory: Path, problems: list[str]) -> Run:
    """One run directory. metrics.csv and metrics.json are missed only where the task is to train."""
    if not directory.is_dir():
        problems.append(f"{directory}: no such run directory")
    about = read_json(directory / "run.json", problems)
    task = text(about.get("task"))
    expected = problems if task == "train" else None
    tables = [directory / "metrics.csv", directory / "metrics.json"]
    present = [path.is_file() or expected is not None for path in tables]
    results = [read_result(path, problems) for path in sorted(directory.glob("results/*/result.json"))]
    return Run(
        name=text(about.get("name")) or directory.name,
        directory=directory,
        task=task,
        status=text(about.get("status")) or "unknown",
        command=text(about.get("command")),
        seconds=real(about.get("seconds")),
        error=text(about.get("error")),
        version=text(about.get("version")),
        metrics=read_json(tables[1], problems) if present[1] else {},
        history=read_history(tables[0], problems) if present[0] else {},
        config=read_text(directory / "config.yaml"),
        results=[result for result in results if result is not None],
    )


def read_gathered(directory: Path, problems: list[str]) -> Run | None:
    """What is gathered of all runs below a folder, such as a sweep's table, as a run of its own; None without any."""
    if not any(directory.glob("results/*/result.json")):
        return None
    found = read_run(directory, [])
    results = [read_result(path, problems) for path in sorted(directory.glob("results/*/result.json"))]
    return replace(found, name="all runs", results=[result for result in results if result is not None])


def read_runs(directories: Iterable[Path], title: str, problems: list[str]) -> Study:
    """Run directories without a study: each is a part of its own."""
    runs = [read_run(directory, problems) for directory in directories]
    parts = [Part(run.name, run.command, run.status, run.seconds, run.error, "", run) for run in runs]
    return Study(title, "", parts, runs, problems)


def read_study(directory: Path) -> Study:
    """A study directory with its study.json."""
    problems: list[str] = []
    found = read_json(directory / "study.json", problems)
    runs: dict[Path, Run] = {}
    parts = []
    for item in objects(found.get("parts"), f"{directory / 'study.json'}: parts", problems):
        where = directory / text(item["run"]) if item.get("run") else None
        if where is not None and where not in runs:
            runs[where] = read_run(where, problems)
        parts.append(
            Part(
                name=text(item.get("name")) or "(no name)",
                command=text(item.get("command")),
                status=text(item.get("status")) or "unknown",
                seconds=real(item.get("seconds")),
                error=text(item.get("error")),
                traceback=text(item.get("traceback")),
                run=None if where is None else runs[where],
            )
        )
    title = text(found.get("title")) or directory.resolve().name
    return Study(title, text(found.get("command")), parts, list(runs.values()), problems)
