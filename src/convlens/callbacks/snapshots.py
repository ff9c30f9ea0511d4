"""The callback that saves the network's weights at chosen epochs."""

from pathlib import Path

import lightning as L

from convlens.callbacks.at_epochs import AtEpochs
from convlens.callbacks.checkpoints import write_rows


class Snapshots(AtEpochs):
    """Saves the weights of chosen epochs to ``checkpoints/epoch_005.ckpt``.

    Without validation images, which choose a best epoch, all states are saved: if the last checkpoint is damaged, the
    training goes on from there.
    """

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the weights; Lightning requires this call on every process."""
        epoch = trainer.current_epoch + 1
        if epoch in self.epochs(trainer):
            path = Path(trainer.default_root_dir) / "checkpoints" / f"epoch_{epoch:03d}.ckpt"
            write_rows(trainer)
            trainer.save_checkpoint(path, weights_only=any(trainer.num_val_batches))
