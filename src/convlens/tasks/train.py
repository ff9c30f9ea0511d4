"""``task=train``: train a classifier, or reuse a finished run before anything large is imported."""

import logging
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from convlens.errors import InputError
from convlens.runs.record import check_same, is_finished

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """The task has no settings of its own: recipe, model, data, trainer and callbacks have them."""


def run(cfg: DictConfig, overrides: list[str], settings: Settings) -> int:
    """Train, unless the run is finished.

    Raises:
        InputError: ``run`` is not a run directory, or the run has other settings.
    """
    run_dir = Path(cfg.run_dir)
    if cfg.run is not None and not (run_dir / "config.yaml").exists():
        raise InputError(f"{run_dir} is not a run directory (no config.yaml): give a run's, or run_dir= for a new one")
    if not cfg.force:
        check_same(run_dir, cfg)
        if is_finished(run_dir):
            log.info("%s is finished: reused (force=true trains it anew)", run_dir)
            return 0
    from convlens.runs.training import train

    train(cfg, overrides)
    return 0
