"""``task=report``: one HTML page about a run, a study or several runs side by side."""

import logging
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from convlens.errors import InputError
from convlens.io.locks import directory_lock
from convlens.report import report_runs, write_report
from convlens.report.claims_board import log_board
from convlens.runs.foreign_results import check_report
from convlens.runs.task_loggers import loggers_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """Settings of the task; see ``conf/task/report.yaml``."""

    run_dirs: Sequence[str] | None


def run(cfg: DictConfig, overrides: list[str], settings: Settings) -> int:
    """Write ``report.html`` into the run or study, or that of several runs into this job's directory.

    Raises:
        InputError: neither ``run`` nor ``task.run_dirs`` is given, a directory is missing, or another process writes
            the same report.
    """
    if settings.run_dirs:
        with directory_lock(Path(cfg.run_dir), "report"):
            check_report(Path(cfg.run_dir) / "report.html")
            path = report_runs([Path(folder) for folder in settings.run_dirs], Path(cfg.run_dir) / "report.html")
    elif cfg.run:
        with directory_lock(Path(cfg.run), "report") if Path(cfg.run).is_dir() else nullcontext():
            check_report(Path(cfg.run) / "report.html")
            path = write_report(Path(cfg.run))
    else:
        raise InputError("task=report: give run=DIR (a run or a study), or task.run_dirs=[DIR,DIR] to compare runs")
    with loggers_of(cfg) as loggers:
        log_board(path.parent, loggers)
    log.info("report: %s", path.resolve())
    return 0
