"""A Weights & Biases logger with the epoch as the x-axis of every chart and image."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import wandb
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image

from convlens.io.atomic import write_bytes


class EpochWandb(WandbLogger):
    """Lightning's `WandbLogger` with ``epoch`` as the step axis and images in table cells.

    The run's id is kept in ``wandb/id.txt`` of ``save_dir``, so that an interrupted run continues its W&B run.

    Args:
        save_dir: folder of W&B's files.
        project: of W&B, in which the run is shown.
        name: of the run.
        group: of the run, such as that of a sweep.
        job_type: of the run, such as train.
        tags: of the run.
        offline: log to files only; None is offline unless WANDB_MODE says otherwise or an account is configured.
        options: other options of `WandbLogger`.
    """

    def __init__(
        self,
        *,
        save_dir: str,
        project: str | None = None,
        name: str | None = None,
        group: str | None = None,
        job_type: str | None = None,
        tags: Sequence[str] | None = None,
        offline: bool | None = None,
        **options: Any,
    ) -> None:
        if offline is None:
            mode = os.environ.get("WANDB_MODE")
            offline = mode in ("offline", "dryrun") if mode else not wandb.login(prompt=False, verify=False)
        Path(save_dir).mkdir(parents=True, exist_ok=True)
        if offline:
            options["mode"] = "offline"
            # W&B's error reports about itself are sent even offline.
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        self._id_file = Path(save_dir) / "wandb" / "id.txt"
        if self._id_file.exists():
            options.setdefault("id", self._id_file.read_text().strip())
        named = {"project": project, "name": name, "group": group, "job_type": job_type, "tags": tags}
        options |= {option: value for option, value in named.items() if value is not None}
        super().__init__(save_dir=save_dir, offline=offline, **options)
        # Lightning sets an environment variable for offline runs, which W&B has read by now and later jobs inherit.
        self._offline = False
        self._epoch: float | None = None

    @property
    def experiment(self) -> Any:
        """The W&B run, which is created at the first access."""
        fresh = self._experiment is None
        run = super().experiment
        if fresh and hasattr(run, "define_metric"):
            run.define_metric("epoch")
            run.define_metric("*", step_metric="epoch")
            write_bytes(self._id_file, f"{run.id}\n".encode())
        return run

    @rank_zero_only
    def log_summary(self, numbers: Mapping[str, float | None]) -> None:
        """Set the run's summary, which the table of runs shows: the best epoch's numbers instead of the last's."""
        self.experiment.summary.update(dict(numbers))

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log a row of numbers, images or tables; a row of the epoch alone sets the epoch of the following rows."""
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
        """Log a table; cells that hold PIL images are logged as images."""
        cells = data and [
            [wandb.Image(cell) if isinstance(cell, Image.Image) else cell for cell in row] for row in data
        ]
        super().log_table(key, columns, cells, dataframe, step)

    def finish(self, failed: bool) -> None:
        """Finish the W&B run, marked as failed or not; the next run of this process gets a new one."""
        if self._experiment is not None:
            self._experiment.finish(exit_code=1 if failed else 0)
            self._experiment = None
