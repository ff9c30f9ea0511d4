"""Damaged checkpoints of a training run: what takes their place when the run goes on."""

import logging
import shutil
from pathlib import Path

from convlens.errors import DamagedError
from convlens.io.atomic import replacing
from convlens.nets.weights import read_checkpoint
from convlens.runs.damage import damaged_files
from convlens.runs.record_file import read_record, write_record
from convlens.runs.replacement import own_files

log = logging.getLogger(__name__)


def reopen(run_dir: Path) -> None:
    """Prepare a run for going on: mend its checkpoints, and if it is finished and damaged, count it as unfinished.

    Checkpoints that the run has not written are left to the refusal to overwrite them.
    """
    record = read_record(run_dir)
    if record.get("status") == "finished" and (damaged := damaged_files(run_dir)):
        write_record(run_dir, record | {"status": "failed", "error": f"damaged: {', '.join(damaged)}"})
    there = {f"checkpoints/{path.name}" for path in _last_and_best(run_dir) if path.exists()}
    if there <= own_files(run_dir):
        mend_checkpoints(run_dir)


def _last_and_best(run_dir: Path) -> tuple[Path, Path]:
    return run_dir / "checkpoints" / "last.ckpt", run_dir / "checkpoints" / "best.ckpt"


def mend_checkpoints(run_dir: Path) -> None:
    """Replace a damaged ``last.ckpt`` by the best epoch's; if that is damaged, remove both.

    The training goes on from there, or from its start, and ends with the same numbers.
    """
    last, best = _last_and_best(run_dir)
    if _is_damaged(best):
        log.warning("the run in %s is trained again from its start: it ends with the same numbers", run_dir)
        best.unlink()
        last.unlink(missing_ok=True)
    elif _is_damaged(last):
        if best.exists():
            log.warning("the run in %s goes on from its best epoch: it ends with the same numbers", run_dir)
            with replacing(last) as partial:
                shutil.copyfile(best, partial)
        else:
            last.unlink()


def _is_damaged(path: Path) -> bool:
    try:
        read_checkpoint(path)
    except FileNotFoundError:
        return False
    except DamagedError as error:
        log.warning("%s", error)
        return True
    return False
