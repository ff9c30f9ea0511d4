"""The report itself: reads a study or runs, fills the template, writes one HTML file."""

import os
import shlex
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from convlens.errors import InputError
from convlens.io.atomic import write_bytes
from convlens.report.claims_board import make_board
from convlens.report.embed import draw_curves
from convlens.report.format import duration, plural
from convlens.report.load import read_gathered, read_runs, read_study
from convlens.report.sections import make_sections
from convlens.report.study_record import Part, Run, Study
from convlens.report.summary import opening, summarise
from convlens.report.training_settings import settings

GROUPS = ("model", "ablation", "data", "recipe", "experiment")
MANY = 12
"""With more networks than that those are folded in, and have no curves."""
SEVERAL = 5
"""From so many runs on they are named by what their commands differ in: a sweep's names are long."""


def write_report(study_dir: Path, out: Path | None = None) -> Path:
    """Writes the report of a study directory, or of a folder of run directories, or of one run directory.

    The file needs no other file and no network. What is missing or unreadable in the runs is said in the report.

    Args:
        study_dir: holds a study.json, or run directories, or is one.
        out: the file to write; `report.html` in the directory if not given.

    Returns:
        The path written to.

    Raises:
        InputError: there is neither a study.json nor a run.json to be found.
    """
    study_dir = Path(study_dir)
    out = study_dir / "report.html" if out is None else Path(out)
    if (study_dir / "study.json").is_file():
        study = read_study(study_dir)
        if study.parts:
            return _write(study, study_dir, out)
    else:
        study = Study(study_dir.resolve().name, "", [], [])
    # a study.json that is broken must not hide the runs beside it
    runs = [study_dir] if (study_dir / "run.json").is_file() else sorted(p.parent for p in study_dir.glob("*/run.json"))
    if not runs and not study.problems:
        raise InputError(f"{study_dir}: found neither a study.json nor a run directory (a folder with a run.json)")
    read = read_runs(runs, study.title, study.problems)
    if runs != [study_dir] and (gathered := read_gathered(study_dir, read.problems)) is not None:
        read = replace(read, runs=[gathered, *read.runs])
    return _write(read, study_dir, out)


def report_runs(directories: Sequence[Path], out: Path, title: str | None = None) -> Path:
    """Writes the report of one or several run directories, side by side.

    Raises:
        InputError: a directory is missing or none is given.
    """
    folders = [Path(directory) for directory in directories]
    absent = [str(folder) for folder in folders if not folder.is_dir()]
    if absent or not folders:
        raise InputError(f"no such run directory: {', '.join(absent)}" if absent else "give at least one run directory")
    title = title or " and ".join(folder.resolve().name for folder in folders[:4])
    return _write(read_runs(folders, title, []), Path(os.path.commonpath([f.resolve() for f in folders])), Path(out))


def _write(study: Study, base: Path, out: Path) -> Path:
    page = _render(_distinct(study, base), base)
    # surrogates from a broken file name must not cost the report
    write_bytes(out, page.encode("utf-8", errors="replace"))
    return out


def _distinct(study: Study, base: Path) -> Study:
    """The study with runs named by what tells them apart, and those of the same name by their directories."""
    study = _shortened(study)
    names = [run.name for run in study.runs]
    renamed = {
        run.directory: replace(run, name=f"{run.name} ({_relative(run.directory, base)})")
        for run in study.runs
        if names.count(run.name) > 1
    }
    parts = [replace(part, run=renamed.get(part.run.directory, part.run)) if part.run else part for part in study.parts]
    return replace(study, runs=[renamed.get(run.directory, run) for run in study.runs], parts=parts)


def _shortened(study: Study) -> Study:
    """The study with runs named by what their commands differ in, where that tells all of them apart."""
    commanded = [run for run in study.runs if run.command]
    given = [dict(word.lstrip("+~").partition("=")[::2] for word in _words(run.command)[1:]) for run in commanded]
    telling = [key for key in {key: None for one in given for key in one} if len({one.get(key) for one in given}) > 1]
    names = [
        ", ".join(
            one[key] if "." not in key and key != "seed" else f"{key} {one[key]}" for key in telling if key in one
        )
        for one in given
    ]
    if len(commanded) < SEVERAL or len(set(names)) < len(names) or not all(names):
        return study
    renamed = {
        run.directory: replace(run, name=name) for run, name in zip(commanded, names, strict=True)
    }  # fmt: skip
    parts = [replace(part, run=renamed.get(part.run.directory, part.run)) if part.run else part for part in study.parts]
    return replace(study, runs=[renamed.get(run.directory, run) for run in study.runs], parts=parts)


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:
        return []


def _relative(path: Path, base: Path) -> str:
    full, root = path.resolve(), base.resolve()
    return str(full.relative_to(root) if full.is_relative_to(root) else path)


def _render(study: Study, base: Path) -> str:
    problems = list(study.problems)
    sections, summary = make_sections(study.runs, problems), summarise(study.runs)
    environment = Environment(
        loader=PackageLoader("convlens", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"duration": duration, "plural": plural}
    written = datetime.now(UTC)
    return environment.get_template("report.html.jinja").render(
        study=study,
        sentences=opening(study.runs, [section.title for section in sections], study.parts),
        written=f"{written.day} {written:%B %Y, %H:%M} UTC",
        versions=sorted({run.version for run in study.runs if run.version}),
        failed=[(n, part) for n, part in enumerate(study.parts, start=1) if part.status == "failed"],
        summary=summary,
        settings=settings([run for run, _ in summary.rows]),
        many=len(summary.rows) > MANY,
        curves=draw_curves(study.runs) if len(summary.rows) <= MANY else [],
        board=make_board(study.runs),
        sections=sections,
        config_of=_first_parts(study.parts),
        problems=[problem.replace(f"{base}{os.sep}", "") for problem in problems],
    )


def _first_parts(parts: Sequence[Part]) -> dict[Path, int]:
    """Run directory to the number of the first part that has it: where its configuration is shown."""
    first: dict[Path, int] = {}
    for index, part in enumerate(parts, start=1):
        if isinstance(part.run, Run):
            first.setdefault(part.run.directory, index)
    return first
