"""``task=pack data=... task.output=DIR``: a data set as shards of squares, for training at ImageNet's scale."""

import logging
import re
import time
from pathlib import Path

from omegaconf import DictConfig

from convlens.data import ImageData
from convlens.data.shards.writer import need_litdata, write_shards
from convlens.errors import InputError
from convlens.io.atomic import directory_lock
from convlens.runs.subject import instantiate
from convlens.runs.typed_settings import check_number

log = logging.getLogger(__name__)


def run(cfg: DictConfig, overrides: list[str], *, output: str | None, shard_bytes: str, workers: int) -> int:
    """Decode every image once and write the shards; a split that is there already is left as it is."""
    check_number("task.workers", workers, 1)
    if output is None:
        raise InputError("task=pack needs a folder to write to: task.output=DIR")
    if not re.fullmatch(r"[0-9.]+ *[KMGT]?B", shard_bytes, re.IGNORECASE):
        raise InputError(f"task.shard_bytes={shard_bytes}: give a size such as 64MB")
    need_litdata()
    data = instantiate(cfg.data)
    if not isinstance(data, ImageData):
        raise InputError("task=pack packs images of a data set: data=shards is packed already")
    started = time.monotonic()
    folder = Path(output).expanduser()
    splits = data.chosen()
    with directory_lock(folder):
        unread = write_shards(
            splits, data.class_names, folder, size=data.stored_size, shard_bytes=shard_bytes, workers=workers
        )
    if any(unread.values()):
        lost = ", ".join(f"{number} of {name}" for name, number in unread.items())
        log.warning("left out, since they cannot be read: %s", lost)
    seconds = time.monotonic() - started
    count = sum(len(split.rows) for split in splits.values())
    size = data.stored_size
    log.info("%d images of %d px in %.0f s (%.0f a second): %s", count, size, seconds, count / seconds, folder)
    return 0
