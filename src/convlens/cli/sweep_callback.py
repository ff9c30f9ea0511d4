"""What became of each job of a sweep: kept job by job, so that any launcher can do them, and said at the end."""

import json
import math
import os
import shutil
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from convlens.cli.sweep_jobs import check_jobs, resolving
from convlens.errors import InputError
from convlens.io.atomic import write_json
from convlens.runs.freshness import is_collected
from convlens.runs.naming import sweep_name
from convlens.runs.record import read_json

DONE, SKIPPED, ELSEWHERE, REFUSED, FAILED, BEGUN = "done", "skipped", "elsewhere", "refused", "failed", "begun"
SAID = {
    DONE: "done",
    SKIPPED: "skipped (finished before)",
    ELSEWHERE: "left to another sweep that works on them",
    REFUSED: "refused",
    FAILED: "failed",
    BEGUN: "begun but never ended",
}


WORST = 100.0
"""The objective of a job without one, in percent."""


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Attributes:
        state: one of the states above.
        run_dir: where it worked.
        code: its exit code.
        said: why, if it is not done.
        objective: what a search such as Optuna's makes small: the validation error of the best epoch, in percent.
    """

    state: str
    run_dir: str = ""
    code: int = 0
    said: str = ""
    objective: float = float("nan")

    def __float__(self) -> float:
        """The objective, for Hydra's sweepers: a search goes on after a job that failed or was refused."""
        return self.objective if math.isfinite(self.objective) else WORST


class SweepRecord(Callback):
    """Keeps ``sweeps/<time>/<job>.json`` in the root of the outputs, and says at the end what was done.

    Hydra makes it in the process of the sweep and hands copies to the launchers' own processes.

    Args:
        collect: gather the runs' numbers in a table as soon as all jobs have ended.
    """

    last: ClassVar["SweepRecord | None"] = None

    def __init__(self, collect: bool = False) -> None:
        self.collect = collect
        self.folder: Path | None = None
        self.name = ""
        SweepRecord.last = self

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Choose the folder, before any job has one, and look whether each job will have its own."""
        self.folder = Path(config.output_root).absolute() / "sweeps" / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
        self.name = sweep_name(OmegaConf.to_container(config.hydra.overrides.task, resolve=False))  # type: ignore[arg-type]
        try:
            check_jobs(config)
        except (InputError, HydraException, OmegaConfBaseException) as error:
            raise SystemExit(2) from error  # Hydra only warns of a callback's exceptions

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Note that a job began."""
        SweepRecord.last = self  # also in a launcher's own process, which has a copy
        self._note(config, Outcome(BEGUN, config.hydra.runtime.output_dir, 1))

    def on_job_end(self, config: DictConfig, job_return: Any, **kwargs: Any) -> None:
        """Note what became of it."""
        if isinstance(job_return._return_value, Outcome):
            self._note(config, job_return._return_value)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Say what was done; end with exit code 1 if a job failed, 2 if one was refused."""
        outcomes = self.tell()
        states = {outcome.state for outcome in outcomes}
        try:
            if self.collect:
                self._collect(config, outcomes)
        except Exception as error:  # of which Hydra would only warn, and end as if all were well
            print(f"convlens: no table: {type(error).__name__}: {error}", file=sys.stderr)
            states.add(FAILED)
        if states & {FAILED, BEGUN, REFUSED}:
            raise SystemExit(1 if states & {FAILED, BEGUN} else 2)

    def tell(self) -> list[Outcome]:
        """Say what became of the jobs so far, and keep that in one file."""
        assert self.folder is not None
        outcomes = read_outcomes(self.folder)
        print(summary(outcomes))
        jobs = [asdict(outcome) | {"objective": _finite(outcome.objective)} for outcome in outcomes]
        write_json(self.folder.with_suffix(".json"), {"jobs": jobs})
        shutil.rmtree(self.folder, ignore_errors=True)
        return outcomes

    def _note(self, config: DictConfig, outcome: Outcome) -> None:
        if self.folder is not None:
            record = asdict(outcome) | {"objective": _finite(outcome.objective)}
            write_json(self.folder / f"{config.hydra.job.num:06d}.json", record)

    def _collect(self, config: DictConfig, outcomes: list[Outcome]) -> None:
        finished = [Path(outcome.run_dir) for outcome in outcomes if outcome.state in (DONE, SKIPPED)]
        for folder in sorted({run_dir.parent for run_dir in finished}):
            if is_collected(folder, config.logger):
                continue
            from convlens.tasks.collect import collect_and_log

            try:
                with resolving(config):
                    collect_and_log(config, folder)
            except InputError as error:
                print(f"convlens: no table: {error}", file=sys.stderr)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def read_outcomes(folder: Path) -> list[Outcome]:
    """The outcomes in a sweep's folder, by the number of the job."""
    records = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    return [Outcome(**record | {"objective": float(record["objective"] or "nan")}) for record in records]


def summary(outcomes: list[Outcome]) -> str:
    """How many jobs are done, skipped and so on, and a line for each that needs the user."""
    counts = [(state, sum(outcome.state == state for outcome in outcomes)) for state in SAID]
    lines = [f"{len(outcomes)} jobs: " + ", ".join(f"{count} {SAID[state]}" for state, count in counts if count)]
    for outcome in outcomes:
        if outcome.state in (FAILED, BEGUN, REFUSED):
            trace = Path(outcome.run_dir) / "traceback.txt"
            where = f"; traceback in {trace}" if trace.exists() else ""
            lines.append(f"{outcome.state}: {outcome.run_dir}: {outcome.said or SAID[outcome.state]}{where}")
    return "\n".join(lines)


def in_sweep() -> bool:
    """Whether this process does a job of a sweep."""
    return HydraConfig.get().mode is RunMode.MULTIRUN


def objective(run_dir: Path) -> float:
    """The validation error of a training run, not a number where there is none."""
    value = read_json(run_dir / "metrics.json").get("val/top1_error")
    return float("nan") if value is None else float(value)
