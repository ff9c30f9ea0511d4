"""The jobs of a sweep before they begin: expand them, and check that trainings have a directory of their own each."""

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from convlens.errors import InputError
from convlens.runs.naming import quotable, without

OWN_DIRECTORY = ("convlens.tasks.train.run", "convlens.tasks.study.run")
"""Tasks whose jobs need a directory each."""


def check_jobs(config: DictConfig) -> None:
    """Check that jobs can be composed, and that every setting that a sweep of trainings varies changes the directory.

    Each value of a setting is tried once, with the others at their first value; of numbers, two values are enough.

    Args:
        config: the configuration of the sweep.

    Raises:
        InputError: two jobs have the same directory; the message names the setting.
        HydraException: a job cannot be composed.
    """
    if not str(config.hydra.sweeper._target_).endswith("BasicSweeper"):
        return  # other sweepers choose their jobs while they run
    jobs = expanded(config)
    directories = [(job, directory(job)) for job in _representatives(jobs)]
    if str(config.task._target_) not in OWN_DIRECTORY:
        return  # jobs of an analysis may add to one result
    if twice := next((job for number, job in enumerate(jobs) if job in jobs[:number]), None):
        raise InputError(f"the job {' '.join(twice)} is asked for twice: give each value once")
    owners: dict[str, list[str]] = {}
    for job, path in directories:
        first = owners.setdefault(path, job)
        if first is not job:
            one, other = next((a, b) for a, b in zip(first, job, strict=True) if a != b)
            raise InputError(
                f"{one} and {other} would both write to {path}: leave run_dir and job_name to convlens, or give each "
                "job its own, such as run_dir=outputs/mine-${seed}"
            )


def expanded(config: DictConfig) -> list[list[str]]:
    """Return the overrides of each job of a sweep with Hydra's basic sweeper."""
    # Unresolved: a value such as run_dir=mine-${seed} is resolved in each job.
    typed: list[str] = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)  # type: ignore[assignment]
    params = config.hydra.sweeper.params or {}
    given = [f"{key}={params[key]}" for key in params] + typed
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    choices: dict[str, list[str]] = {}
    for override in parser.parse_overrides(given):
        key = override.get_key_element()
        sweeps = override.is_sweep_override()
        values = override.sweep_string_iterator() if sweeps else [override.get_value_element_as_str()]
        choices[key] = [f"{key}={value}" for value in values]
    return [list(job) for job in itertools.product(*choices.values())]


def _representatives(jobs: Sequence[list[str]]) -> Iterator[list[str]]:
    """Yield the first job, and those that differ from it in one setting; a second number only once for a setting."""
    yield jobs[0]
    tried: set[int] = set()
    for job in jobs[1:]:
        changed = [index for index, (a, b) in enumerate(zip(jobs[0], job, strict=True)) if a != b]
        if len(changed) == 1 and not (changed[0] in tried and _is_number(job[changed[0]].partition("=")[2])):
            tried.add(changed[0])
            yield job


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def directory(overrides: Sequence[str]) -> str:
    """Return the run directory of the job with these overrides."""
    config = hydra.compose("config", list(overrides), return_hydra_config=True)
    with resolving(config):
        return str(config.run_dir)


@contextmanager
def resolving(config: DictConfig) -> Iterator[None]:
    """Let a configuration resolve ``${hydra:...}`` outside of a job."""
    before = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(config)
    try:
        yield
    finally:
        HydraConfig.instance().cfg = before


def needs_own_command(config: DictConfig) -> bool:
    """Return whether Lightning would start the job's other processes itself, by repeating the command."""
    started = "SLURM_NTASKS" in os.environ or "TORCHELASTIC_RUN_ID" in os.environ
    return not started and (config.trainer.devices != 1 or config.trainer.num_nodes != 1)


def run_alone(config: DictConfig, overrides: Sequence[str]) -> int:
    """Run a job as a command of its own; return its exit code.

    The command that was typed is the sweep's: processes that repeat it would each begin the whole sweep.
    """
    given = [f"run_dir={quotable(Path(config.run_dir))}", f"job_name={config.job_name}"]
    if "wandb" in config.logger:
        given.append(f"logger.wandb.group={quotable(config.logger.wandb.group)}")
    others = without(overrides, [override.partition("=")[0] for override in given])
    return subprocess.run([sys.executable, "-m", "convlens.cli.main", *others, *given], check=False).returncode
