"""Open the loggers of a task that does not train: those that take pictures and tables."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from omegaconf import DictConfig

from convlens.runs.run_config import flat, plain
from convlens.runs.subject import instantiate


@contextmanager
def loggers_of(cfg: DictConfig) -> Iterator[list[Any]]:
    """Open all loggers except the csv of a run's epochs, and close them after errors too."""
    loggers = [instantiate(node) for name, node in cfg.logger.items() if name != "csv"]
    failed = True
    try:
        for logger in loggers:
            logger.log_hyperparams(flat(plain(cfg)))
        yield loggers
        failed = False
    finally:
        for logger in loggers:
            logger.finalize("failed" if failed else "success")
            if hasattr(logger, "finish"):
                logger.finish(failed)
