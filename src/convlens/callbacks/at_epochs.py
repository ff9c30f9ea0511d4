"""What happens at chosen epochs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from PIL import Image

from convlens.errors import InputError

PAPER_EPOCHS = (1, 2, 5, 10, 20, 30, 40, 64)
PAPER_RUN = 70


def paper_epochs(max_epochs: int) -> list[int]:
    """The paper's epochs 1, 2, 5, 10, 20, 30, 40, 64 of 70 (Fig 4), scaled to a run of another length."""
    return sorted({max(1, round(epoch * max_epochs / PAPER_RUN)) for epoch in PAPER_EPOCHS})


class AtEpochs(L.Callback):
    """Acts at the end of chosen 1-based epochs, on the first process only and never during the sanity check.

    Args:
        epochs: when to act; None takes the paper's epochs, scaled to the run's length.

    Raises:
        InputError: an epoch lies beyond the run.
    """

    def __init__(self, epochs: Sequence[int] | None = None) -> None:
        self.chosen = None if epochs is None else sorted(set(epochs))

    def epochs(self, trainer: L.Trainer) -> list[int]:
        """The epochs of this run at which the callback acts."""
        return self.epochs_of(trainer.max_epochs or 1)

    def epochs_of(self, length: int) -> list[int]:
        """The epochs of a run of that length.

        Raises:
            InputError: an epoch lies beyond the run.
        """
        if self.chosen is None:
            return paper_epochs(length)
        if beyond := [epoch for epoch in self.chosen if not 1 <= epoch <= length]:
            raise InputError(
                f"{type(self).__name__}: epoch {beyond[0]} is outside the run's epochs 1..{length}: "
                "change the callback's epochs or trainer.max_epochs"
            )
        return self.chosen

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Check the list before anything is trained."""
        if stage == "fit":
            self.epochs(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Act if this is one of the epochs."""
        epoch = trainer.current_epoch + 1
        if trainer.is_global_zero and not trainer.sanity_checking and epoch in self.epochs(trainer):
            self.act(trainer, pl_module, epoch)

    def act(self, trainer: L.Trainer, pl_module: Any, epoch: int) -> None:
        """What to do at a chosen epoch."""
        raise NotImplementedError


def datamodule(trainer: L.Trainer) -> Any:
    """The run's data, from which callbacks take images without augmentation.

    Raises:
        InputError: the run has bare loaders instead.
    """
    data = getattr(trainer, "datamodule", None)
    if not hasattr(data, "plain_dataloader"):
        raise InputError(
            "drawing callbacks need trainer.fit(datamodule=convlens.data.ImageData(...)), not bare loaders"
        )
    return data


def results_dir(trainer: L.Trainer, analysis: str) -> Path:
    """Where an analysis of the run writes."""
    return Path(trainer.default_root_dir) / "results" / analysis


def log_picture(trainer: L.Trainer, key: str, path: Path, epoch: int, caption: str) -> None:
    """Show a picture, which is in the run directory already, in every logger of the run that has pictures."""
    show_picture(trainer.loggers, key, path, epoch, caption, trainer.global_step)


def log_table(trainer: L.Trainer, key: str, columns: list[str], rows: list[list[Any]], epoch: int) -> None:
    """Show a table in every logger of the run that has tables; cells may be PIL images."""
    show_table(trainer.loggers, key, columns, rows, epoch, trainer.global_step)


def show_picture(loggers: Sequence[Any], key: str, path: Path, epoch: int, caption: str, step: int = 0) -> None:
    """Show a picture in the loggers that have pictures."""
    for logger in loggers:
        if hasattr(logger, "log_image"):
            logger.log_metrics({"epoch": float(epoch)}, step=step)
            logger.log_image(key=key, images=[str(path)], step=step, caption=[caption])
        elif (experiment := getattr(logger, "experiment", None)) and hasattr(experiment, "add_image"):
            experiment.add_image(key, np.asarray(Image.open(path).convert("RGB")), epoch, dataformats="HWC")


def show_table(
    loggers: Sequence[Any], key: str, columns: list[str], rows: list[list[Any]], epoch: int, step: int = 0
) -> None:
    """Show a table in the loggers that have tables."""
    for logger in loggers:
        if hasattr(logger, "log_table"):
            logger.log_metrics({"epoch": float(epoch)}, step=step)
            logger.log_table(key=key, columns=columns, data=rows, step=step)
