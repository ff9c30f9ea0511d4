"""Damaged checkpoints of a training run: what takes their place when the run goes on."""

import logging
import shutil
from pathlib import Path
from typing import Any

from convlens.errors import DamagedError
from convlens.io.atomic import replacing
from convlens.nets.weights import read_checkpoint

log = logging.getLogger(__name__)
ASIDE = ".aside"
"""End of the names of checkpoints that another one has replaced."""


def mend_checkpoints(run_dir: Path) -> None:
    """Put the best epoch's checkpoint, or the newest snapshot that has all states, in place of a damaged last one.

    If the best epoch's is damaged, the training starts again. It ends with the same numbers from wherever it goes on.
    What is replaced is renamed, not removed: the last checkpoint may be whole.
    """
    last, best = run_dir / "checkpoints" / "last.ckpt", run_dir / "checkpoints" / "best.ckpt"
    if _is_damaged(best):
        log.warning("the run in %s is trained again from its start: it ends with the same numbers", run_dir)
        _put_aside(best)
        _put_aside(last)
    elif _is_damaged(last):
        _put_aside(last)
        source = best if best.exists() else _newest_snapshot(run_dir)
        if source:
            log.warning("the run in %s goes on from %s: it ends with the same numbers", run_dir, source.name)
            with replacing(last) as partial:
                shutil.copyfile(source, partial)
        else:
            log.warning("the run in %s is trained again from its start: it ends with the same numbers", run_dir)


def _newest_snapshot(run_dir: Path) -> Path | None:
    """Return the newest whole snapshot that a training can go on from; those with weights alone do not suffice."""
    for path in sorted(run_dir.glob("checkpoints/epoch_*.ckpt"), reverse=True):
        if "optimizer_states" in (_read_whole(path) or ()):
            return path
    return None


def _put_aside(path: Path) -> None:
    if path.exists():
        log.warning("%s is kept as %s", path, path.name + ASIDE)
        path.rename(path.with_name(path.name + ASIDE))


def _is_damaged(path: Path) -> bool:
    return path.exists() and _read_whole(path) is None


def _read_whole(path: Path) -> dict[str, Any] | None:
    """Return a checkpoint; None, and a warning, if it is damaged."""
    try:
        return read_checkpoint(path)
    except DamagedError as error:
        log.warning("%s", error)
        return None
