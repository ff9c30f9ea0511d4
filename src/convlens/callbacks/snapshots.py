"""Checkpoints at chosen epochs."""

from pathlib import Path

import lightning as L

from convlens.callbacks.at_epochs import AtEpochs


class Snapshots(AtEpochs):
    """Keeps the weights of chosen epochs as ``checkpoints/epoch_005.ckpt``, without the optimiser's state."""

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save on all processes together, as Lightning wants it."""
        epoch = trainer.current_epoch + 1
        if epoch in self.epochs(trainer):
            path = Path(trainer.default_root_dir) / "checkpoints" / f"epoch_{epoch:03d}.ckpt"
            trainer.save_checkpoint(path, weights_only=True)
