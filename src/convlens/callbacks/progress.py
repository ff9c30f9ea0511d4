"""The progress of a training run: one bar for the whole run on a terminal, one log line per epoch elsewhere."""

import logging
import sys
import time

import lightning as L
from tqdm import tqdm

log = logging.getLogger(__name__)


class RunProgress(L.Callback):
    """Shows the 1-based epoch, the rate, the time left and the latest validation error."""

    def __init__(self) -> None:
        self.bar: tqdm[int] | None = None
        self.started = 0.0
        self.first_epoch = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Create the bar, which starts at the first epoch of this attempt if the run is continued."""
        self.started, self.first_epoch = time.monotonic(), trainer.current_epoch
        batches = int(trainer.num_training_batches)
        if trainer.is_global_zero and sys.stderr.isatty():
            total = batches * (trainer.max_epochs or 1)
            self.bar = tqdm(total=total, initial=self.first_epoch * batches, unit="batch", dynamic_ncols=True)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show the epoch on the bar."""
        if self.bar:
            self.bar.set_description(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}")

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: object) -> None:
        """Advance the bar."""
        if self.bar:
            self.bar.update()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show the validation error and, without a bar, the time left."""
        error = trainer.callback_metrics.get("val/top1_error")
        if self.bar:
            if error is not None:
                self.bar.set_postfix_str(f"val top-1 error {float(error):.1f} %")
            return
        done = trainer.current_epoch + 1
        pace = (time.monotonic() - self.started) / (done - self.first_epoch)
        left = pace * ((trainer.max_epochs or done) - done)
        quality = "" if error is None else f", val top-1 error {float(error):.1f} %"
        log.info("epoch %d/%d%s, %.1f s per epoch, %.0f s left", done, trainer.max_epochs, quality, pace, left)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Close the bar."""
        if self.bar:
            self.bar.close()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Close the bar."""
        self.on_train_end(trainer, pl_module)
