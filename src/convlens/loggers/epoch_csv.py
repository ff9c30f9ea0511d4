"""A logger that writes one row of metrics per epoch to a csv file and continues the file of an interrupted run."""

import csv
import io
import logging
import math
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from convlens.io.atomic import write_bytes
from convlens.io.names import document_bytes

log = logging.getLogger(__name__)


class EpochCSV(Logger):
    """Writes ``metrics.csv``: a row per 1-based epoch and a column per ``split/metric``.

    The file is replaced as a whole after each epoch. Rows that it already has are kept; those of repeated epochs are
    updated.

    Args:
        save_dir: folder of the file.
        filename: name of the file.
    """

    def __init__(self, save_dir: str, filename: str = "metrics.csv") -> None:
        super().__init__()
        self.path = Path(save_dir) / filename
        self.rows: dict[int, dict[str, str]] = {}
        if self.path.exists():
            try:
                self.rows = _read(self.path)
            except (ValueError, KeyError, csv.Error) as error:
                log.warning("%s is damaged (%s): written anew, with the rows that the checkpoint has", self.path, error)

    @property
    def name(self) -> str:
        """Name of the logger."""
        return "csv"

    @property
    def version(self) -> str:
        """An empty string, since there is one file per run directory."""
        return ""

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the run directory has the configuration already."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add metrics to the row of their ``epoch``; metrics without an epoch are ignored."""
        if "epoch" in metrics:
            self.update_row(metrics)

    @rank_zero_only
    def update_row(self, metrics: Mapping[str, float]) -> None:
        """Set columns of the row of the metrics' ``epoch`` and write the file."""
        row = self.rows.setdefault(int(metrics["epoch"]), {"epoch": str(int(metrics["epoch"]))})
        row.update({name: _cell(value) for name, value in metrics.items() if name != "epoch"})
        self.save()

    @rank_zero_only
    def save(self) -> None:
        """Write all rows.

        Raises:
            InputError: the disk is full.
        """
        columns = ["epoch", *sorted({name for row in self.rows.values() for name in row} - {"epoch"})]
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows[epoch] for epoch in sorted(self.rows))
        write_bytes(self.path, document_bytes(text.getvalue()))


def _read(path: Path) -> dict[int, dict[str, str]]:
    """Return the rows of a file by epoch."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    if any(None in row or None in row.values() for row in rows):
        raise ValueError("rows of different lengths")
    for cell in (cell for row in rows for cell in row.values() if cell):
        float(cell)
    return {int(row["epoch"]): row for row in rows}


def _cell(value: float) -> str:
    return "nan" if math.isnan(value) else f"{float(value):.6g}"
