"""``task=report run=DIR`` (a run or a study) or ``task.runs=[DIR,...]``: one html page."""

import logging
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from convlens.errors import InputError
from convlens.report import report_runs, write_report

log = logging.getLogger(__name__)


def run(cfg: DictConfig, overrides: list[str], *, runs: Sequence[str] | str | None) -> int:
    """Write ``report.html`` into the run, or several runs' into this job's directory."""
    if runs:
        path = report_runs(
            [Path(r) for r in ([runs] if isinstance(runs, str) else runs)], Path(cfg.run_dir) / "report.html"
        )
    elif cfg.run:
        path = write_report(Path(cfg.run))
    else:
        raise InputError("nothing to report: give run=DIR, or task.runs=[DIR,DIR] for several side by side")
    log.info("report: %s", path.resolve())
    return 0
