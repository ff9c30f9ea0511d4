"""From a composed configuration to the task it names."""

import sys
from typing import Any, get_type_hints

from omegaconf import DictConfig, OmegaConf

from convlens.runs.lightning_logging import quiet_lightning
from convlens.runs.typed_settings import as_annotated, from_settings


def dispatch(cfg: DictConfig, overrides: list[str]) -> int:
    """Run ``cfg.task``; returns the exit code.

    A task is ``run(cfg, overrides)`` or ``run(cfg, overrides, settings)``, where the annotation of ``settings`` is the
    dataclass that ``cfg.task`` is converted to.
    """
    from hydra.utils import get_method

    settings: dict[str, Any] = OmegaConf.to_container(cfg.task, resolve=True)  # type: ignore[assignment]
    task = get_method(settings.pop("_target_"))
    declared = get_type_hints(task).get("settings")
    keywords = as_annotated(task, settings) if declared is None or declared is Any else {}
    given = [] if keywords or declared is None else [from_settings(declared, settings, "task")]
    if "lightning" in sys.modules:  # not for a task that may find all done and need nothing heavy
        quiet_lightning()
    return int(task(cfg, overrides, *given, **keywords) or 0)
