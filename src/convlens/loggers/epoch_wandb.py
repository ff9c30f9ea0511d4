"""Weights & Biases with the epoch as the axis of every chart and picture."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import wandb
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image

from convlens.io.atomic import write_bytes


class EpochWandb(WandbLogger):
    """Lightning's logger with ``epoch`` as the step axis and pictures allowed in table cells.

    A killed run that goes on in the same ``save_dir`` goes on in W&B, too: its id is kept there, in ``wandb/id.txt``.
    Works offline, without an account, unless a key is configured; ``offline`` or WANDB_MODE decide otherwise.
    """

    def __init__(self, *, save_dir: str, offline: bool | None = None, **options: Any) -> None:
        if offline is None:
            mode = os.environ.get("WANDB_MODE")
            offline = mode in ("offline", "dryrun") if mode else not wandb.login(prompt=False, verify=False)
        Path(save_dir).mkdir(parents=True, exist_ok=True)
        if offline:
            options["mode"] = "offline"
            # W&B's reports about itself go out even so.
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        self._id_file = Path(save_dir) / "wandb" / "id.txt"
        if self._id_file.exists():
            options.setdefault("id", self._id_file.read_text().strip())
        super().__init__(save_dir=save_dir, offline=offline, **options)
        # Lightning's way to go offline is a variable of the environment, which comes too late for W&B, whose settings
        # are read by now, and stays for the jobs that follow.
        self._offline = False
        self._epoch: float | None = None

    @property
    def experiment(self) -> Any:
        """The W&B run."""
        fresh = self._experiment is None
        run = super().experiment
        if fresh and hasattr(run, "define_metric"):
            run.define_metric("epoch")
            run.define_metric("*", step_metric="epoch")
            write_bytes(self._id_file, f"{run.id}\n".encode())
        return run

    @rank_zero_only
    def log_summary(self, numbers: Mapping[str, Any]) -> None:
        """Set what the table of runs shows: the numbers of the best epoch, not those of the last."""
        self.experiment.summary.update(dict(numbers))

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log a row; one that holds the epoch alone sets the epoch of the rows after it."""
        self._epoch = metrics.get("epoch", self._epoch)
        if set(metrics) <= {"epoch"}:
            return
        row = dict(metrics) if self._epoch is None else {**metrics, "epoch": self._epoch}
        super().log_metrics(row, step)

    @rank_zero_only
    def log_table(
        self,
        key: str,
        columns: list[str] | None = None,
        data: list[list[Any]] | None = None,
        dataframe: Any = None,
        step: int | None = None,
    ) -> None:
        """Log a table; cells that hold PIL images become pictures."""
        cells = data and [
            [wandb.Image(cell) if isinstance(cell, Image.Image) else cell for cell in row] for row in data
        ]
        super().log_table(key, columns, cells, dataframe, step)

    def finish(self, failed: bool) -> None:
        """End the W&B run, marked as failed if it is, so that the next run of the process gets its own."""
        if self._experiment is not None:
            self._experiment.finish(exit_code=1 if failed else 0)
            self._experiment = None
