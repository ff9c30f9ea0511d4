"""Checkpoints that are whole or not there, and never ahead of the metrics on disk."""

import io
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from convlens.io.atomic import write_bytes


class WholeCheckpoints(TorchCheckpointIO):
    """Writes beside the target, then renames.

    Lightning's own writes to the system's temporary folder and moves from there: across file systems that is a copy,
    and a run killed in it could never be continued.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Save, whole or not at all.

        Raises:
            InputError: the disk is full.
        """
        content = io.BytesIO()
        torch.save(checkpoint, content)
        write_bytes(Path(path), content.getbuffer())


class BestCheckpoint(ModelCheckpoint):
    """Knows the best epoch also of a run whose folder was moved, of which Lightning forgets it."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the state, its files being where they are now."""
        folder = Path(str(self.dirpath))
        paths = {"best_model_path", "kth_best_model_path", "last_model_path"} & state_dict.keys()
        moved = {key: str(folder / Path(state_dict[key]).name) if state_dict[key] else "" for key in paths}
        best = {str(folder / Path(path).name): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict(state_dict | moved | {"best_k_models": best, "dirpath": self.dirpath})


class StepCheckpoint(ModelCheckpoint):
    """The last checkpoint also within an epoch, ``every`` so many steps.

    Not after the last step of an epoch: of one saved there Lightning goes on with the next, and the validation of the
    epoch, its row and its chance to be the best would be lost.
    """

    def __init__(self, every: int, **given: Any) -> None:
        own = {"monitor": None, "filename": "last", "every_n_train_steps": every, "save_on_train_epoch_end": False}
        super().__init__(**given | own)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save, if it is time."""
        if not trainer.is_last_batch:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)


class EpochCheckpoint(ModelCheckpoint):
    """Hands the epoch's metrics to the loggers that keep rows before it saves.

    Lightning does so afterwards: a run killed in between would go on without the row of an epoch that it has.
    """

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Rows, then the checkpoint."""
        row = {name: float(value) for name, value in trainer.callback_metrics.items()}
        for logger in trainer.loggers:
            if hasattr(logger, "keep_row"):
                logger.keep_row(row)
        super().on_train_epoch_end(trainer, pl_module)
