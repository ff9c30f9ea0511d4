"""Checkpoints that are written completely or not at all, and never before the epoch's metrics."""

import io
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from convlens.io.atomic import write_bytes

ROWS = "metrics_rows"
"""Key of a checkpoint for the rows of metrics by epoch."""


class WholeCheckpoints(TorchCheckpointIO):
    """Checkpoint files that are written next to their target and then renamed.

    Lightning's own plugin writes to the system's temporary folder and moves the file, which is a copy between file
    systems: a run that is killed meanwhile could not be continued.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Save a checkpoint, whole or not at all.

        Raises:
            InputError: the disk is full.
        """
        content = io.BytesIO()
        torch.save(checkpoint, content)
        write_bytes(Path(path), content.getbuffer())


def write_rows(trainer: L.Trainer) -> None:
    """Write the epoch's row of metrics, before a checkpoint of the epoch.

    Lightning logs them later: a run killed in between would continue without the row of an epoch that it has finished.
    """
    row = {name: float(value) for name, value in trainer.callback_metrics.items()}
    for logger in trainer.loggers:
        if hasattr(logger, "update_row"):
            logger.update_row(row)


class RowsFirst(ModelCheckpoint):
    """A `ModelCheckpoint` that saves at the end of an epoch after the loggers have written its metrics."""

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the epoch's row of metrics, then the checkpoint."""
        write_rows(trainer)
        super().on_train_epoch_end(trainer, pl_module)


class BestCheckpoint(RowsFirst):
    """A checkpoint that still knows the best epoch after the run directory was moved."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state with the paths of the current directory."""
        folder = Path(str(self.dirpath))
        paths = {"best_model_path", "kth_best_model_path", "last_model_path"} & state_dict.keys()
        moved = {key: str(folder / Path(state_dict[key]).name) if state_dict[key] else "" for key in paths}
        best = {str(folder / Path(path).name): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict(state_dict | moved | {"best_k_models": best, "dirpath": self.dirpath})


class StepCheckpoint(ModelCheckpoint):
    """A `ModelCheckpoint` that writes ``last.ckpt`` every so many steps, except after the last step of an epoch.

    From a checkpoint of that step Lightning continues with the next epoch, without the validation of this one.

    Args:
        every: number of steps between checkpoints.
        options: other options of `ModelCheckpoint`.
    """

    def __init__(self, every: int, **options: Any) -> None:
        own = {"monitor": None, "filename": "last", "every_n_train_steps": every, "save_on_train_epoch_end": False}
        super().__init__(**options | own)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save after every n-th step but the last of an epoch."""
        if not trainer.is_last_batch:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)


class EpochCheckpoint(RowsFirst):
    """A checkpoint of the last epoch; it puts the rows of metrics into every checkpoint of the run.

    A run that goes on has the rows of the epochs before, whatever became of their file.
    """

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the rows so far."""
        for logger in trainer.loggers:
            if isinstance(rows := getattr(logger, "rows", None), dict):
                checkpoint[ROWS] = {epoch: dict(row) for epoch, row in rows.items()}

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Restore the rows."""
        for logger in trainer.loggers:
            if ROWS in checkpoint and isinstance(rows := getattr(logger, "rows", None), dict):
                rows.update(checkpoint[ROWS])
                logger.save()
