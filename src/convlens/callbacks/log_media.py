"""Logging of images and tables to those loggers that support them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from lightning.pytorch.loggers import Logger
from PIL import Image

Cell = str | int | float | Image.Image | None


def log_image(loggers: Sequence[Logger], key: str, path: Path, epoch: int, caption: str, step: int = 0) -> None:
    """Log an image file to every logger that has images.

    Args:
        loggers: the loggers.
        key: name of the image, such as ``projections/conv1``.
        path: the image file.
        epoch: 1-based epoch at which the image is shown; 0 outside of training.
        caption: shown with the image.
        step: the logger's step.
    """
    for logger in loggers:
        if hasattr(logger, "log_image"):
            logger.log_metrics({"epoch": float(epoch)}, step=step)
            logger.log_image(key=key, images=[str(path)], step=step, caption=[caption])
        elif (experiment := getattr(logger, "experiment", None)) and hasattr(experiment, "add_image"):
            experiment.add_image(key, np.asarray(Image.open(path).convert("RGB")), epoch, dataformats="HWC")


def log_table(
    loggers: Sequence[Logger],
    key: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    epoch: int,
    step: int = 0,
) -> None:
    """Log a table, whose cells may be PIL images, to every logger that has tables.

    Args:
        loggers: the loggers.
        key: name of the table.
        columns: headings.
        rows: one cell a column.
        epoch: 1-based epoch at which the table is shown; 0 outside of training.
        step: the logger's step.
    """
    for logger in loggers:
        if hasattr(logger, "log_table"):
            logger.log_metrics({"epoch": float(epoch)}, step=step)
            logger.log_table(key=key, columns=columns, data=rows, step=step)
