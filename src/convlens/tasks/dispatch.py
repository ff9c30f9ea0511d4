"""From a composed configuration to the task it names."""

import logging
import warnings
from typing import Any

from omegaconf import DictConfig, OmegaConf


def dispatch(cfg: DictConfig, overrides: list[str]) -> int:
    """Run ``cfg.task`` with its own settings as keywords; returns the exit code."""
    from hydra.utils import get_method

    quiet_lightning()
    settings: dict[str, Any] = OmegaConf.to_container(cfg.task, resolve=True)  # type: ignore[assignment]
    task = get_method(settings.pop("_target_"))
    return int(task(cfg, overrides, **settings) or 0)


def quiet_lightning() -> None:
    """Leave out Lightning's announcements and advice: our own lines say what the user needs."""
    import lightning  # noqa: F401  first, since it sets these levels itself when it is imported

    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",
        ".*logging interval.*",
        ".*LeafSpec.*",
        ".*Checkpoint directory.*",
        ".*in eval mode at the start of training.*",  # frozen layers
    ):
        warnings.filterwarnings("ignore", message)
