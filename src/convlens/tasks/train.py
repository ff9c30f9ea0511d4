"""``task=train``: a classifier; what is finished is reused before anything heavy is imported."""

import logging
from pathlib import Path

from omegaconf import DictConfig

from convlens.errors import InputError
from convlens.runs.record import check_same, status

log = logging.getLogger(__name__)


def run(cfg: DictConfig, overrides: list[str]) -> int:
    """Train unless that is done.

    Raises:
        InputError: the number of epochs is none, or ``run`` is not a run.
    """
    run_dir = Path(cfg.run_dir)
    epochs = cfg.trainer.max_epochs
    if not isinstance(epochs, int) or epochs < 1:
        raise InputError(f"recipe.max_epochs={epochs}: give a whole number of at least 1")
    if cfg.run is not None and not (run_dir / "config.yaml").exists():
        raise InputError(f"{run_dir} is not a run directory (no config.yaml): give a run's, or run_dir= for a new one")
    if not cfg.force:
        check_same(run_dir, cfg)
        if status(run_dir) == "finished":
            log.info("%s is finished: reused (force=true does it anew)", run_dir)
            return 0
    from convlens.runs.training import train

    train(cfg, overrides)
    return 0
