"""``task=collect``: one table of the finished runs below a folder, with the paper's numbers (Tables 2 and 3)."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from omegaconf import DictConfig, OmegaConf

from convlens.analysis.ablation.claims import ablation_claims
from convlens.callbacks.log_media import log_table
from convlens.errors import InputError
from convlens.figures.bar_plots import bars
from convlens.figures.png import save_png
from convlens.io.atomic import remove_partials
from convlens.io.json_files import read_json
from convlens.io.locks import directory_lock
from convlens.io.tables import Cell, write_tables
from convlens.runs.foreign_results import check_table
from convlens.runs.freshness import finished_runs, note_collected
from convlens.runs.group_names import names_of, training_names
from convlens.runs.group_table import (
    HEADINGS,
    ablation_errors,
    differences,
    group_row,
    mean_and_deviation,
    report_row,
)
from convlens.runs.groups import Group, by_training, find_groups
from convlens.runs.record import command_line
from convlens.runs.table_2 import table_2
from convlens.runs.task_loggers import loggers_of
from convlens.stats.claims import Claim
from convlens.stats.paper_tables import ABLATION_ORDER, kind_of
from convlens.stats.results import AnalysisResult, Figure, Table

log = logging.getLogger(__name__)
UNFINISHED = ".unfinished"
"""File in the folder of the table that says that it is being written."""


@dataclass(frozen=True)
class Settings:
    """The task has no settings of its own; ``sweep`` is a key of the whole configuration."""


def run(cfg: DictConfig, overrides: list[str], settings: Settings) -> int:
    """Write ``results/collect`` into the folder of the runs.

    Raises:
        InputError: no folder is given, it holds no finished run, or another process writes its table.
    """
    if cfg.sweep is None:
        raise InputError("task=collect needs the folder of the runs: sweep=DIR, such as sweep=outputs/ablation")
    collect_and_log(cfg, Path(cfg.sweep), command_line(overrides), wait=False)
    return 0


def collect_and_log(cfg: DictConfig, sweep: Path, command: str = "", *, wait: bool = True) -> None:
    """Write ``results/collect`` into the folder of the runs, and log its table; arguments as for `collect`."""
    before = finished_runs(sweep)  # runs that finish from now on are for the next table
    rows = collect(sweep, command, wait=wait)
    if set(cfg.logger) - {"csv"}:
        own = OmegaConf.merge(cfg, {"run_dir": str(sweep), "job_name": f"{sweep.resolve().name}/collect"})
        with loggers_of(own) as loggers:  # type: ignore[arg-type]
            log_table(loggers, "collect/runs", list(rows[0]), [list(row.values()) for row in rows], 0)
    note_collected(sweep, before, cfg.logger)


def collect(sweep: Path, command: str = "", *, wait: bool = True) -> list[dict[str, Cell]]:
    """Write tables, figures and claims to ``results/collect`` below a folder of runs.

    Args:
        sweep: the folder.
        command: the command line that repeats this.
        wait: whether to wait for another process that does the same, such as a sweep that ends at the same time.

    Returns:
        The rows of ``table.csv``.

    Raises:
        InputError: there is no finished run, or another process does the same and ``wait`` is false.
    """
    folder = sweep / "results" / "collect"
    find_groups(sweep)  # before the lock, which creates the folder
    with directory_lock(folder, wait=wait):
        groups, others = find_groups(sweep)
        place = {name: number for number, name in enumerate(ABLATION_ORDER)}
        groups.sort(key=lambda group: (group.model, place.get(group.ablation, len(place))))
        parts = by_training(groups)
        groups = [group for part in parts for group in part]
        gaps = {id(group): gap for part in parts for group, gap in differences(part)}
        rows = [group_row(name, one, gaps.get(id(one))) for name, one in zip(names_of(groups), groups, strict=True)]
        remove_partials(folder)
        _make_room(folder)
        write_tables(folder, "table", rows)
        figures: list[Figure] = []
        claims: list[Claim] = []
        tables: list[Table] = []
        for part, about in zip(parts, training_names(parts), strict=True):
            runs = {kind_of(group.model, group.ablation): group.runs for group in part}
            tables += [found for found in [table_2(runs, about)] if found is not None]
            figures.append(_draw(part, about, folder, len(figures)))
            claims += ablation_claims(ablation_errors(part), about)
        result = collect_result(rows, groups, others, figures, claims, tables)
        result.write(folder, command or f"convlens task=collect sweep={sweep}")
        (folder / UNFINISHED).unlink()
    log.info("%d rows of %d runs: %s", len(rows), sum(len(group.runs) for group in groups), folder / "table.md")
    return rows


def _make_room(folder: Path) -> None:
    """Remove the figures of an earlier table, and note that a new one is begun.

    Raises:
        InputError: the folder holds a file that would be overwritten and is not of an earlier table.
    """
    earlier = read_json(folder / "result.json")
    figures, known = set(), set()
    if earlier.get("analysis") == "collect":
        figures = {Path(str(figure["file"])).name for figure in earlier["figures"]}
        known = {"result.json", "table.csv", "table.md", "collected.json"}
    if not (folder / UNFINISHED).exists():  # else what is there was left by a command that was killed
        check_table(folder, figures | known)
    (folder / UNFINISHED).touch()
    for name in figures:
        (folder / name).unlink(missing_ok=True)


def _draw(groups: Sequence[Group], about: str, folder: Path, number: int) -> Figure:
    """Draw the test errors of groups that differ only in the network: series by network, labels by ablation."""
    heights: dict[str, dict[str, float]] = {}
    deviations: dict[str, dict[str, float]] = {}
    for group in groups:
        mean, deviation = mean_and_deviation(group, "test/top1_error")
        label = "as published" if group.ablation == "none" else group.ablation.replace("_", " ")
        heights.setdefault(group.model, {})[label] = np.nan if mean is None else mean
        deviations.setdefault(group.model, {})[label] = np.nan if deviation is None else deviation
    file = f"errors_{number + 1}.png" if number else "errors.png"
    save_png(bars(heights, y_label="test top-1 error, %", spread=deviations), folder / file)
    return Figure(file, file, f"Test top-1 error, {about}; error bars are the standard deviation over seeds.")


def collect_result(
    rows: Sequence[Mapping[str, Cell]],
    groups: Sequence[Group],
    others: Mapping[str, int],
    figures: Sequence[Figure],
    claims: Sequence[Claim],
    tables: Sequence[Table] = (),
) -> AnalysisResult:
    """Return the result for the report; ``tables`` follow on that of all groups."""
    seeds = sorted({len(group.runs) for group in groups})
    count = sum(len(group.runs) for group in groups)
    text = (
        f"{count} finished runs, {' or '.join(map(str, seeds))} seeds each: mean and standard deviation of the errors "
        "in percent. Train: training images, cropped like the test images. Minus base: difference to the network "
        "without the ablation, paired by image, with an interval of 95 % over the choice of images and seeds; the "
        "variance between seeds is estimated from all rows together, and with one seed nothing is decided. Ensemble: "
        "the networks of a row as one, by the mean of their probabilities."
    )
    if others:
        text += f" Not in the table: {', '.join(f'{number} {reason}' for reason, number in others.items())}."
    return AnalysisResult(
        "collect",
        "Errors of all networks (Tables 2 and 3)",
        "Tables 2 and 3",
        text,
        figures=figures,
        tables=[Table("error, %", HEADINGS, [report_row(row) for row in rows]), *tables],
        claims=claims,
    )
