"""Writing of the report: read a study or runs, fill the template, write one HTML file."""

import os
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from convlens.errors import InputError
from convlens.io.atomic import write_bytes
from convlens.report.claims_board import CLAIMS, BoardRow, make_board, write_board
from convlens.report.embed import draw_curves
from convlens.report.format import duration, plural
from convlens.report.load import read_folder_results, read_runs, read_study
from convlens.report.paper_index import paper_index
from convlens.report.run_names import rename_runs
from convlens.report.sections import make_sections
from convlens.report.study_record import Part, Run, Study
from convlens.report.summary import opening, summarize
from convlens.report.training_settings import training_settings
from convlens.runs.file_list import listing
from convlens.runs.foreign_results import check_claims
from convlens.runs.record_file import RECORD

MANY = 12
"""More networks than this are folded away, and their learning curves are not drawn."""


def write_report(study_dir: Path, out: Path | None = None) -> Path:
    """Write the report of a study directory, a folder of run directories, or one run directory.

    The page needs no other file and no network. It lists missing and unreadable files.

    Args:
        study_dir: directory with a study.json, folder of run directories, or run directory.
        out: the file to write; ``report.html`` in the directory by default.

    Returns:
        The path of the report.

    Raises:
        InputError: there is neither a study.json nor a run.json.
    """
    study_dir = Path(study_dir)
    out = study_dir / "report.html" if out is None else Path(out)
    if (study_dir / "study.json").is_file():
        study = read_study(study_dir)
        if study.parts:
            return _write(study, study_dir, out)
    else:
        study = Study(study_dir.resolve().name, "", [], [])
    # a broken study.json must not hide the runs in the same folder
    runs = [study_dir] if (study_dir / "run.json").is_file() else sorted(p.parent for p in study_dir.glob("*/run.json"))
    if not runs and not study.problems:
        raise InputError(f"{study_dir}: found neither a study.json nor a run directory (a folder with a run.json)")
    read = read_runs(runs, study.title, study.problems)
    if runs != [study_dir] and (together := read_folder_results(study_dir, read.problems)) is not None:
        read = replace(read, runs=[together, *read.runs])
    return _write(read, study_dir, out)


def report_runs(directories: Sequence[Path], out: Path, title: str | None = None) -> Path:
    """Write the report of one or several run directories, side by side.

    Args:
        directories: run directories.
        out: the file to write.
        title: of the page; the directories' names by default.

    Returns:
        The path of the report.

    Raises:
        InputError: a directory is missing, or none is given.
    """
    folders = [Path(directory) for directory in directories]
    absent = [str(folder) for folder in folders if not folder.is_dir()]
    if absent or not folders:
        raise InputError(f"no such run directory: {', '.join(absent)}" if absent else "give at least one run directory")
    title = title or " and ".join(folder.resolve().name for folder in folders[:4])
    return _write(read_runs(folders, title, []), Path(os.path.commonpath([f.resolve() for f in folders])), Path(out))


def _write(study: Study, base: Path, out: Path) -> Path:
    """Write the page, and the board of claims to ``results/claims.json`` beside it."""
    study = rename_runs(study, base)
    board, claims = make_board(study.runs), out.parent / CLAIMS
    check_claims(claims)
    page = _render(study, base, board)
    # a broken file name may contain surrogates, which UTF-8 cannot encode
    write_bytes(out, page.encode("utf-8", errors="replace"))
    with listing(out.parent) if (out.parent / RECORD).is_file() else nullcontext():
        claims.parent.mkdir(exist_ok=True)
        write_board(board, claims)
    return out


def _render(study: Study, base: Path, board: Sequence[BoardRow]) -> str:
    problems = list(study.problems)
    sections, summary = make_sections(study.runs, problems), summarize(study.runs)
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
        settings=training_settings([run for run, _ in summary.rows]),
        many=len(summary.rows) > MANY,
        curves=draw_curves(study.runs) if len(summary.rows) <= MANY else [],
        board=board,
        index=paper_index(study.runs, sections),
        sections=sections,
        config_of=_first_parts(study.parts),
        problems=[problem.replace(f"{base}{os.sep}", "") for problem in problems],
    )


def _first_parts(parts: Sequence[Part]) -> dict[Path, int]:
    """Map each run directory to the number of its first part, which shows the configuration."""
    first: dict[Path, int] = {}
    for index, part in enumerate(parts, start=1):
        if isinstance(part.run, Run):
            first.setdefault(part.run.directory, index)
    return first
