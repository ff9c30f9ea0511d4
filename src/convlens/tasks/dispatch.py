"""From a composed configuration to the task it names."""

import sys
from typing import Any

from omegaconf import DictConfig, OmegaConf

from convlens.tasks.quiet import quiet_lightning
from convlens.tasks.settings import as_annotated


def dispatch(cfg: DictConfig, overrides: list[str]) -> int:
    """Run ``cfg.task`` with its own settings as keywords; returns the exit code."""
    from hydra.utils import get_method

    settings: dict[str, Any] = OmegaConf.to_container(cfg.task, resolve=True)  # type: ignore[assignment]
    task = get_method(settings.pop("_target_"))
    settings = as_annotated(task, settings)
    if "lightning" in sys.modules:  # not for a task that may find all done and need nothing heavy
        quiet_lightning()
    return int(task(cfg, overrides, **settings) or 0)
