"""Composition of the configuration: the functions that its files call, and jobs that a task composes itself."""

import json
import os
from collections.abc import Callable, Sequence

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from convlens.errors import InputError
from convlens.runs.conf_files import groups
from convlens.runs.config_errors import explain
from convlens.runs.naming import group, job_name, run_dir, without


def register_resolvers() -> None:
    """Register the functions that the yaml files call, such as ``${convlens.job_name:...}``."""
    resolvers: dict[str, Callable[..., object]] = {
        "job_name": job_name,
        "without": without,
        "run_dir": run_dir,
        "group": group,
        "absolute": os.path.abspath,
        "one_or": one_or,
        "json": as_json,
        "half": lambda number: number // 2,
    }
    for name, function in resolvers.items():
        OmegaConf.register_new_resolver(f"convlens.{name}", function, replace=True)


def one_or(value: object, default: object) -> object:
    """Return a list of the value, or the default where the value is None."""
    return default if value is None else [value]


def as_json(value: object) -> str:
    """Return a value, such as a list with nulls, as text that is the same value in an override."""
    return json.dumps(OmegaConf.to_container(value) if OmegaConf.is_config(value) else value)


def compose_job(overrides: Sequence[str]) -> DictConfig:
    """Compose the configuration of a job that another job runs, such as a part of a study.

    Raises:
        InputError: the overrides cannot be composed.
    """
    try:
        return hydra.compose("config", list(overrides))
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(explain(error, overrides, groups())) from error
