"""Reading of run directories and studies into records; missing or broken files become problems, not exceptions."""

import csv
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from convlens.errors import DamagedError
from convlens.io.inside import is_special, unfit
from convlens.io.json_files import parse_json, without_checksum
from convlens.report.json_values import named, real, rounded, text
from convlens.report.study_record import ClaimRecord, History, Part, Picture, Result, Run, Study
from convlens.runs.run_config import flat, read_config
from convlens.stats.results import Number, Table


def objects(value: object, where: str, problems: list[str]) -> list[dict[str, object]]:
    """Return the objects of a JSON list; add a problem if there is anything else."""
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        problems.append(f"{where}: expected a list of objects")
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def read_text(path: Path, problems: list[str] | None = None) -> str:
    """Return a file's text with undecodable bytes replaced; empty, with a problem, if it cannot be read."""
    try:
        if special := is_special(path):
            raise ValueError(special)
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        reason = "missing"
    except (OSError, ValueError) as error:  # ValueError: the path is not a valid one
        reason = str(error)
    if problems is not None:
        problems.append(f"{path}: {reason}")
    return ""


def read_json(path: Path, problems: list[str]) -> dict[str, object]:
    """Return the object in a JSON file; empty, with a problem, if it holds none."""
    content = read_text(path, problems)
    if not content:
        if path.is_file():
            problems.append(f"{path}: empty")
        return {}
    try:
        # an integer too large for a float becomes infinite here instead of raising an error later
        found = parse_json(content, parse_int=lambda digits: int(digits) if len(digits) < 300 else float(digits))
    except ValueError as error:
        problems.append(f"{path}: not JSON ({error})")
        return {}
    if not isinstance(found, dict):
        problems.append(f"{path}: not a JSON object")
        return {}
    try:
        return without_checksum(path, found)
    except DamagedError:
        problems.append(f"{path}: damaged, it is not as it was written")
        return {}


def read_history(path: Path, problems: list[str]) -> History:
    """Return the columns of metrics.csv by epoch; of several rows of one epoch the last filled cell counts."""
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
        problems.append(f"{path}: skipped {skipped} rows without a whole number in the column 'epoch'")
    return history


def _rows(lines: list[str], path: Path, problems: list[str]) -> list[dict[str, object]]:
    try:
        return list(csv.DictReader(lines))
    except csv.Error as error:
        problems.append(f"{path}: not a table ({error})")
        return []


def _cell(content: object) -> float | None:
    try:
        return float(content)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None


def read_result(path: Path, problems: list[str]) -> Result | None:
    """Return the content of a result.json; None, with a problem, if nothing can be read from it."""
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
        Number(text(item.get("name")), _scalar(item.get("value")), text(item.get("unit")), _spread(item.get("spread")))
        for item in objects(found.get("numbers"), f"{path}: numbers", problems)
    ]
    tables = [_table(item, path, problems) for item in objects(found.get("tables"), f"{path}: tables", problems)]
    analysis = text(found.get("analysis")) or path.parent.name
    return Result(
        analysis=analysis,
        title=text(found.get("title")) or analysis,
        reproduces=text(found.get("reproduces")),
        text=text(found.get("text")),
        numbers=numbers,
        figures=figures,
        tables=tables,
        claims=[_claim(item) for item in objects(found.get("claims"), f"{path}: claims", problems)],
    )


def _scalar(value: object) -> float | int | str | None:
    return value if value is None or isinstance(value, int | float | str) else str(value)


def _spread(value: object) -> float | tuple[float, float] | None:
    if isinstance(value, list) and len(value) == 2:
        low, high = real(value[0]), real(value[1])
        return None if low is None or high is None else (low, high)
    return real(value)


def _claim(item: Mapping[str, object]) -> ClaimRecord:
    number = real(item.get("number"))
    texts = ("claim", "place", "about", "statistic", "estimate", "units", "paper", "verdict", "refuted_if")
    return ClaimRecord(
        number=int(number) if number is not None and math.isfinite(number) else 0,
        controls=named(item.get("controls")),
        unit=text(item.get("unit")),
        over=text(item.get("over")),
        effect=rounded(item.get("effect_size")),
        detectable=rounded(item.get("detectable")),
        control=named(item.get("control")),
        p=real(item.get("p")),
        **{name: text(item.get(name)) for name in texts},
    )


def _table(item: Mapping[str, object], path: Path, problems: list[str]) -> Table:
    title, columns, rows = text(item.get("title")), item.get("columns"), item.get("rows")
    if not isinstance(columns, list) or not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        problems.append(f"{path}: table {title!r}: expected a list of columns and a list of rows")
        return Table(title, [], [])
    width = len(columns)
    # pad short rows so that each cell stays below its column's heading
    padded = [[_scalar(cell) for cell in row[:width]] + [None] * (width - len(row)) for row in rows]
    return Table(title, [text(column) for column in columns], padded)


def read_settings(directory: Path) -> dict[str, object]:
    """Return the values in a run's config.yaml by dotted name; empty if it holds no mapping."""
    values = flat(read_config(directory) or {})
    return json.loads(json.dumps(values, default=str))  # dates and the like as text


def read_run(directory: Path, problems: list[str]) -> Run:
    """Return the record of a run directory; metrics files are expected only if its task is ``train``."""
    if not directory.is_dir():
        problems.append(f"{directory}: no such run directory")
    files = [directory / name for name in ("run.json", "config.yaml", "metrics.csv", "metrics.json")]
    for path in [*files, *directory.glob("results/*/result.json")]:
        if reason := unfit(path, directory):
            problems.append(f"{path} {reason}: the run is not shown")
            return Run(name=directory.name, directory=directory)
    about = read_json(directory / "run.json", problems)
    task = text(about.get("task"))
    expected = problems if task == "train" else None
    tables = [directory / "metrics.csv", directory / "metrics.json"]
    present = [path.is_file() or expected is not None for path in tables]
    results = [read_result(path, problems) for path in sorted(directory.glob("results/*/result.json"))]
    choices = about.get("choices")
    return Run(
        name=text(about.get("name")) or directory.name,
        directory=directory,
        task=task,
        status=text(about.get("status")) or "unknown",
        command=text(about.get("command")),
        seconds=real(about.get("seconds")),
        error=text(about.get("error")),
        version=text(about.get("version")),
        choices={key: text(value) for key, value in choices.items()} if isinstance(choices, dict) else {},
        metrics=read_json(tables[1], problems) if present[1] else {},
        history=read_history(tables[0], problems) if present[0] else {},
        config=read_text(directory / "config.yaml"),
        settings=read_settings(directory),
        results=[result for result in results if result is not None],
    )


def read_folder_results(directory: Path, problems: list[str]) -> Run | None:
    """Return the results about a whole folder of runs, such as a sweep's table, as a run; None if there are none."""
    if not any(directory.glob("results/*/result.json")):
        return None
    found = read_run(directory, [])
    results = [read_result(path, problems) for path in sorted(directory.glob("results/*/result.json"))]
    return replace(found, name="all runs", results=[result for result in results if result is not None])


def read_runs(directories: Iterable[Path], title: str, problems: list[str]) -> Study:
    """Return run directories that belong to no study as a study with one part for each."""
    runs = [read_run(directory, problems) for directory in directories]
    parts = [Part(run.name, run.command, run.status, run.seconds, run.error, "", run) for run in runs]
    return Study(title, "", parts, runs, problems)


def read_study(directory: Path) -> Study:
    """Return the study that a directory's study.json describes."""
    problems: list[str] = []
    found = read_json(directory / "study.json", problems)
    runs: dict[Path, Run] = {}
    parts = []
    for item in objects(found.get("parts"), f"{directory / 'study.json'}: parts", problems):
        where = directory / text(item["run"]) if item.get("run") else None
        if where is not None and (reason := unfit(where, directory)):
            problems.append(f"{where} {reason}: not shown")
            where = None
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
