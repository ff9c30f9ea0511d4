"""Hydra callback: refuse commands before anything is written, and keep the outcome of each job of a sweep."""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from hydra.core.utils import JobReturn
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from convlens.cli.outcomes import BEGUN, DONE, REFUSED, SKIPPED, Outcome, finish_sweep, note_outcome
from convlens.cli.sweep_jobs import check_jobs, resolving
from convlens.errors import InputError, ResourceError
from convlens.io.resources import resource_error
from convlens.runs.config_check import check_root
from convlens.runs.freshness import is_collected
from convlens.runs.naming import sweep_name


class SweepRecord(Callback):
    """Keep ``sweeps/<time>-<process>/<job>.json`` below the root of the outputs, and print the summary at the end.

    Hydra makes one in the process of the sweep, and hands copies to the processes of its launchers.

    Args:
        collect: write the table of the runs as soon as all jobs have ended.
        name: identifies the sweep among others in a dashboard; empty outside of sweeps. Set by `on_multirun_start`.
    """

    def __init__(self, collect: bool = False, name: str = "") -> None:
        self.collect = collect
        self.name = name
        self.folder: Path | None = None

    def on_run_start(self, config: DictConfig, **kwargs: object) -> None:
        """Check a single job before Hydra makes its directory.

        Raises:
            SystemExit: from the error; Hydra only warns of exceptions of callbacks.
        """
        try:
            with resolving(config):
                check_root(_without_hydra(config))
        except (InputError, OmegaConfBaseException) as error:
            raise SystemExit(2) from error

    def on_multirun_start(self, config: DictConfig, **kwargs: object) -> None:
        """Choose the folder and name of the sweep, and check that each job has a directory of its own.

        Raises:
            SystemExit: from the error; Hydra only warns of exceptions of callbacks.
        """
        typed: list[str] = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)  # type: ignore[assignment]
        self.name = sweep_name(typed)
        with read_write(config), open_dict(config):
            config.hydra.callbacks.sweep.name = self.name  # for the table
            config.hydra.overrides.hydra.append(f"hydra.callbacks.sweep.name='{self.name}'")  # for the jobs
        try:
            self.folder = sweeps_folder(config) / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
            check_jobs(config)
        except (InputError, HydraException, OmegaConfBaseException) as error:
            raise SystemExit(2) from error

    def on_job_start(self, config: DictConfig, **kwargs: object) -> None:
        """Note that a job began."""
        self._note(config, Outcome(BEGUN, config.hydra.runtime.output_dir, 1))

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: object) -> None:
        """Note the outcome of a job."""
        if isinstance(job_return._return_value, Outcome):
            self._note(config, job_return._return_value)

    def on_multirun_end(self, config: DictConfig, **kwargs: object) -> None:
        """Print the summary.

        Raises:
            SystemExit: with code 1 if a job or the table failed, 2 if a job was refused.
        """
        assert self.folder is not None
        codes: set[int] = set()
        try:
            outcomes = finish_sweep(self.folder)
            codes |= {outcome.code for outcome in outcomes}
            if self.collect:
                _collect(config, outcomes)
        except Exception as error:  # Hydra would only warn, and end with exit code 0
            if found := resource_error(error):
                raise SystemExit(2) from found
            print(f"convlens: no table: {type(error).__name__}: {error}", file=sys.stderr)
            codes.add(1)
        if any(codes):
            raise SystemExit(1 if 1 in codes else 2)

    def _note(self, config: DictConfig, outcome: Outcome) -> None:
        """Write an outcome; where that is not possible the sweep ends, since Hydra only warns of exceptions."""
        if self.folder is None:
            return
        try:
            note_outcome(self.folder, config.hydra.job.num, outcome)
        except ResourceError as error:
            raise SystemExit(2) from (None if outcome.state == REFUSED else error)  # the job has said why


def sweeps_folder(config: DictConfig) -> Path:
    """Return the folder of the sweeps' records below the root of the outputs."""
    return Path(config.output_root).absolute() / "sweeps"


def _without_hydra(config: DictConfig) -> DictConfig:
    """Return a copy without Hydra's own settings, as a job gets it."""
    job = config.copy()
    with read_write(job), open_dict(job):
        del job["hydra"]
    return job


def _collect(config: DictConfig, outcomes: Sequence[Outcome]) -> None:
    """Write the table of each folder of finished runs, unless it is up to date."""
    finished = [Path(outcome.run_dir) for outcome in outcomes if outcome.state in (DONE, SKIPPED)]
    for folder in sorted({run_dir.parent for run_dir in finished}):
        if is_collected(folder, config.logger):
            continue
        from convlens.tasks.collect import collect_and_log

        try:
            with resolving(config):
                collect_and_log(config, folder)
        except ResourceError:
            raise
        except InputError as error:
            print(f"convlens: no table: {error}", file=sys.stderr)
