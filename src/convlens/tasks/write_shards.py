"""``task=write_shards``: write a data set as shards of squares, for training at ImageNet's scale."""

import logging
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from omegaconf import DictConfig

from convlens.data import ImageData
from convlens.data.shards.metadata import import_litdata
from convlens.data.shards.writer import write_shards
from convlens.data.validate import MOST_WORKERS
from convlens.errors import InputError
from convlens.io.locks import directory_lock
from convlens.runs.subject import instantiate
from convlens.runs.typed_settings import Between

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """Settings of the task; ``conf/task/write_shards.yaml`` has their values and what they mean."""

    output: str | None
    shard_bytes: str
    workers: Annotated[int, Between(1, MOST_WORKERS)]


def run(cfg: DictConfig, overrides: list[str], settings: Settings) -> int:
    """Decode each image once and write the shards; splits that are complete are kept.

    Raises:
        InputError: there is no output folder, or the data are shards.
    """
    if settings.output is None:
        raise InputError("task=write_shards needs a folder to write to: give task.output=DIR")
    if not re.fullmatch(r"[0-9.]+ *[KMGT]?B", settings.shard_bytes, re.IGNORECASE):
        raise InputError(f"task.shard_bytes={settings.shard_bytes}: give a size such as 64MB")
    import_litdata()
    data = instantiate(cfg.data)
    if not isinstance(data, ImageData):
        raise InputError("task=write_shards reads the images of a data set, and data=shards are shards already")
    started, folder, size = time.monotonic(), Path(settings.output).expanduser(), data.stored_size
    splits = data.splits()
    with directory_lock(folder):
        unreadable = write_shards(
            splits, data.class_names, folder, size=size, shard_bytes=settings.shard_bytes, workers=settings.workers
        )
    if any(unreadable.values()):
        counts = ", ".join(f"{number} of {name}" for name, number in unreadable.items())
        log.warning("unreadable images were left out: %s", counts)
    seconds = time.monotonic() - started
    count = sum(len(split.rows) for split in splits.values())
    log.info("%d images of %d px in %.0f s (%.0f a second): %s", count, size, seconds, count / seconds, folder)
    return 0
