"""The jobs of a sweep before they begin: trainings and studies need a directory of their own each."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.plugins.sweeper import Sweeper
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from convlens.errors import InputError
from convlens.runs.naming import quotable, without

ALONE = ("convlens.tasks.train.run", "convlens.tasks.study.run")
"""Tasks that have a directory to themselves."""


def check_jobs(config: DictConfig) -> None:
    """Make sure that the jobs can be composed, and that whatever a sweep of trainings varies changes the directory.

    Each value of a setting is looked at once, with the others at their first; of numbers the first two are enough.
    Hydra composes every job to see whether it can, and then again to run it: that is left out, or a sweep of forty jobs
    that are finished would take twice as long.

    Raises:
        InputError: two jobs have the same directory; the message names the setting.
        HydraException: a job cannot be composed.
    """
    if not str(config.hydra.sweeper._target_).endswith("BasicSweeper"):
        return  # how others choose their jobs is not known before
    jobs = _jobs(config)
    found = [(job, directory(job)) for job in _looked_at(jobs)]
    Sweeper.validate_batch_is_legal = lambda self, batch: None  # type: ignore[method-assign]
    if str(config.task._target_) not in ALONE:
        return  # jobs of an analysis may add to one result
    if twice := next((job for number, job in enumerate(jobs) if job in jobs[:number]), None):
        raise InputError(f"the job {' '.join(twice)} is asked for twice: give each value once")
    owners: dict[str, list[str]] = {}
    for job, there in found:
        first = owners.setdefault(there, job)
        if first is not job:
            one, other = next((a, b) for a, b in zip(first, job, strict=True) if a != b)
            raise InputError(
                f"{one} and {other} would both write to {there}: leave run_dir and job_name to convlens, or give each "
                "job its own, such as run_dir=outputs/mine-${seed}"
            )


def _jobs(config: DictConfig) -> list[list[str]]:
    """The overrides of each job."""
    loader = GlobalHydra.instance().config_loader()
    # As typed: a value such as run_dir=mine-${seed} is each job's own.
    typed: list[str] = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)  # type: ignore[assignment]
    params = config.hydra.sweeper.params or {}
    given = [f"{key}={params[key]}" for key in params] + typed
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(given)
    return [job for batch in BasicSweeper.split_arguments(parsed, None) for job in batch]


def _looked_at(jobs: list[list[str]]) -> Iterator[list[str]]:
    """The first job, and those that differ from it in one setting."""
    yield jobs[0]
    seen: set[int] = set()
    for job in jobs[1:]:
        changed = [place for place, (a, b) in enumerate(zip(jobs[0], job, strict=True)) if a != b]
        if len(changed) == 1 and not (changed[0] in seen and _is_number(job[changed[0]].partition("=")[2])):
            seen.add(changed[0])
            yield job


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def directory(overrides: list[str]) -> str:
    """The run directory of the job with these overrides."""
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    config = hydra.compose_config("config", overrides, RunMode.RUN, with_log_configuration=False)
    with resolving(config):
        return str(config.run_dir)


@contextmanager
def resolving(config: DictConfig) -> Iterator[None]:
    """Outside of a job: let a configuration resolve what it says of Hydra itself."""
    before = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(config)
    try:
        yield
    finally:
        HydraConfig.instance().cfg = before


def starts_others(config: DictConfig) -> bool:
    """Whether Lightning would start the job's other processes itself, by the command that was typed."""
    by_others = "SLURM_NTASKS" in os.environ or "TORCHELASTIC_RUN_ID" in os.environ
    return not by_others and (config.trainer.devices != 1 or config.trainer.num_nodes != 1)


def alone(config: DictConfig, overrides: list[str]) -> int:
    """The job as a command of its own; returns its exit code.

    The command that was typed is that of the sweep: processes started by it would each begin the whole sweep.
    """
    where = [f"run_dir={quotable(Path(config.run_dir))}", f"job_name={config.job_name}"]
    if "wandb" in config.logger:
        where.append(f"logger.wandb.group={quotable(config.logger.wandb.group)}")
    kept = without(overrides, [override.partition("=")[0] for override in where])
    return subprocess.run([sys.executable, "-m", "convlens.cli.main", *kept, *where], check=False).returncode
