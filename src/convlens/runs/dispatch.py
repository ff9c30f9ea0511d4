"""Run the task that a composed configuration names, after all settings are checked and converted."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import FunctionType
from typing import Any, get_type_hints

from omegaconf import DictConfig, OmegaConf

from convlens.errors import InputError
from convlens.runs.config_check import check_nodes, check_root
from convlens.runs.constructors import imported
from convlens.runs.foreign_warnings import shorten_warnings
from convlens.runs.lightning_logging import quiet_lightning
from convlens.runs.record import is_finished_with
from convlens.runs.resources import explained
from convlens.runs.typed_settings import from_settings

TRAIN = "convlens.tasks.train.run"


def dispatch(cfg: DictConfig, overrides: Sequence[str]) -> int:
    """Check the configuration, run its task and return the exit code.

    A task is a function ``run(cfg, overrides, settings)``; the annotation of ``settings`` is the dataclass that
    ``cfg.task`` is converted to.

    Raises:
        InputError: a setting is unknown, missing or of another type.
        ResourceError: the machine lacks room on its disk, memory or open files.
    """
    shorten_warnings()
    with explained(cfg):
        settings = check(cfg, overrides)
        task = imported(str(cfg.task._target_), "task")
        if "lightning" in sys.modules:  # not for a task that may find all done and need nothing large
            quiet_lightning()
        return int(task(cfg, list(overrides), settings) or 0)


def check(cfg: DictConfig, overrides: Sequence[str] = ()) -> object:
    """Check and convert all settings of a configuration in place; return those of its task as its dataclass.

    Raises:
        InputError: a setting is unknown, missing or of another type.
    """
    resolved = check_root(cfg, overrides)
    if not _is_reused(cfg, resolved):
        check_nodes(cfg, resolved)
    values = dict(resolved["task"])
    target = str(values.pop("_target_", ""))
    task = imported(target, "task")
    declared = get_type_hints(task).get("settings") if isinstance(task, FunctionType) else None
    if declared is None:
        raise InputError(f"task._target_={target} is no task: choose one with task=")
    settings: Any = from_settings(declared, values, "task")
    for name, value in asdict(settings).items():
        if value != values.get(name):
            OmegaConf.update(cfg, f"task.{name}", value)
    return settings


def _is_reused(cfg: DictConfig, resolved: Mapping[str, Any]) -> bool:
    """Return whether a training is finished with these settings, which were checked then: nothing is imported."""
    return resolved["task"].get("_target_") == TRAIN and not cfg.force and is_finished_with(Path(cfg.run_dir), resolved)
