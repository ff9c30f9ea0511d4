"""The record of a run (``run.json``), and the refusal to continue a run with other settings; needs no torch."""

import contextlib
import logging
import shlex
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from convlens.errors import InputError, ResourceError
from convlens.io.atomic import remove_partials, write_bytes
from convlens.io.claims import claimed_by, remove_own
from convlens.io.file_states import file_states
from convlens.io.locks import directory_lock
from convlens.io.names import document_bytes
from convlens.io.rank import is_rank_zero
from convlens.runs.authorship import mark
from convlens.runs.damage import CHECKED, CONFIG, damaged_files
from convlens.runs.file_list import FileList, record_lock
from convlens.runs.record_file import read_record, write_record
from convlens.runs.replacement import clear_unfinished, discard, foreign_files, restore
from convlens.runs.resources import explained
from convlens.runs.run_config import first_difference, plain, settings_digest
from convlens.runs.run_log import remove_new_logs

log = logging.getLogger(__name__)

CHOICES = ("model", "ablation", "data", "recipe")
"""Groups of the configuration whose chosen options are recorded."""


def status(run_dir: Path) -> str:
    """Return ``finished``, ``running``, ``failed``, or ``absent``."""
    return str(read_record(run_dir).get("status", "absent"))


def is_finished(run_dir: Path) -> bool:
    """Return whether a run is finished and, as far as its record says, not damaged since."""
    if status(run_dir) != "finished":
        return False
    for name in (damaged := damaged_files(run_dir)):
        log.warning(
            "%s is damaged: the run is tested again, or trained again from the last whole checkpoint", run_dir / name
        )
    return not damaged


def is_finished_with(run_dir: Path, config: Mapping[str, object]) -> bool:
    """Return whether a run is finished and recorded exactly the settings of a resolved configuration."""
    record = read_record(run_dir)
    return record.get("settings") == settings_digest(config) and is_finished(run_dir)


def check_same(run_dir: Path, cfg: DictConfig) -> None:
    """Refuse to continue a run with other settings than its own; a run without a checkpoint may be given others.

    Raises:
        InputError: the settings differ; the message names the first one that does.
    """
    trained = status(run_dir) == "finished" or any(run_dir.glob("checkpoints/*.ckpt"))
    if not (trained and (run_dir / "config.yaml").exists()):
        return
    values = plain(cfg)
    if read_record(run_dir).get("settings") == settings_digest(values):
        return
    if found := first_difference(run_dir, values):
        key, old, new = found
        raise InputError(
            f"{run_dir} holds a run with {key}={old}, not {new}: choose another run_dir, or force=true to train it anew"
        )


@contextmanager
def recorded(
    run_dir: Path,
    cfg: DictConfig,
    task: str,
    command: str,
    *,
    shared: bool = False,
    begin: Callable[[], bool] = lambda: True,
    about: Mapping[str, object] | None = None,
) -> Iterator[bool]:
    """Keep ``config.yaml`` and ``run.json`` up to date while a job works in a run directory.

    A job that is refused in a new directory leaves nothing there. Files of an earlier run that ``begin`` set aside
    are put back after an error, unless they were discarded. In a shared directory other jobs may work at the same
    time: the record is that of the job that ended last.

    Args:
        run_dir: the directory.
        cfg: the job's configuration.
        task: name of the task.
        command: the command that does this job alone.
        shared: other jobs may work in the directory at the same time.
        begin: called before the record is changed, while no other process works in the directory; returns whether
            there is anything to do.
        about: further entries of the record.

    Yields:
        What ``begin`` returned.

    Raises:
        InputError: another process works in the directory.
    """
    existed = run_dir.exists()
    try:
        lock = contextlib.nullcontext() if shared else directory_lock(run_dir)
        restored = contextlib.nullcontext() if shared else _restored_after_errors(run_dir)
        with lock, _cleared_if_refused(run_dir), restored, explained(cfg):
            if not begin():
                yield False
                return
            with _noted(run_dir, cfg, task, command, about or {}, shared=shared):
                yield True
    except InputError:
        if not existed:
            with contextlib.suppress(OSError):  # not empty
                run_dir.rmdir()
        raise


@contextmanager
def _cleared_if_refused(run_dir: Path) -> Iterator[None]:
    """Remove what a job that is refused wrote into a directory without a record, unless there are results."""
    new = not (run_dir / "run.json").exists()
    try:
        yield
    except InputError:
        if new and not any(run_dir.glob("checkpoints/*")) and not any(run_dir.glob("results/*/*")):
            with contextlib.suppress(OSError):  # on a read-only disk
                clear_unfinished(run_dir)
                remove_new_logs()
        raise


@contextmanager
def _restored_after_errors(run_dir: Path) -> Iterator[None]:
    """Put back files of an earlier run that were set aside, now or by a process that was killed."""
    if not is_rank_zero():
        yield
        return
    restore(run_dir)
    try:
        yield
    except BaseException:
        if restore(run_dir):
            log.info("the earlier run in %s was kept", run_dir)
        raise
    discard(run_dir)


@contextmanager
def _noted(
    run_dir: Path, cfg: DictConfig, task: str, command: str, about: Mapping[str, object], *, shared: bool
) -> Iterator[None]:
    """Write the record at the start and the end of a job, with the error if it fails."""
    if not is_rank_zero():
        yield
        return
    values = plain(cfg)
    before = float(read_record(run_dir).get("seconds", 0.0))
    started = time.monotonic()
    entries: dict[str, object] = {
        "task": task,
        "name": cfg.job_name,
        "command": command,
        "version": version("convlens"),
    }
    content = document_bytes(OmegaConf.to_yaml(OmegaConf.create(values)))
    entries |= {"settings": settings_digest(values), "choices": choices(), **about, "author": mark(content)}
    files = FileList(run_dir, shared=shared)

    def note(state: str, error: str | None = None) -> None:
        more = {"status": state, "seconds": round(before + time.monotonic() - started, 1), "error": error}
        with record_lock(run_dir):
            if state == "running":
                more |= {"foreign": foreign_files(run_dir), "files": files.listed() if shared else sorted(files.known)}
            else:
                more |= {"files": files.listed(), "states": file_states(run_dir, CHECKED)}
            write_record(run_dir, entries | more)

    for folder in ("checkpoints", "results"):
        remove_partials(run_dir / folder)
    note("running")  # first: the other files are the run's by it
    with claimed_by(files):
        write_bytes(run_dir / CONFIG, content)
        trace = run_dir / "traceback.txt"
        remove_own(trace)
        try:
            with explained(cfg):
                yield
        except BaseException as error:
            stopped = isinstance(error, KeyboardInterrupt | SystemExit)
            # That the record cannot be written, or the place of the traceback is taken, is not what went wrong.
            with contextlib.suppress(OSError, InputError):
                if not isinstance(error, InputError | KeyboardInterrupt | SystemExit):
                    write_bytes(trace, document_bytes(traceback.format_exc()))
            with contextlib.suppress(OSError, ResourceError):
                first = f"{type(error).__name__}: {error}".splitlines()[0]
                note("failed", "stopped before the end" if stopped else first)
            raise
        note("finished")


def choices() -> dict[str, str]:
    """Return the chosen network, ablation, data and recipe by group; empty outside of a job."""
    if not HydraConfig.initialized():
        return {}
    chosen = HydraConfig.get().runtime.choices
    return {group: str(chosen[group]) for group in CHOICES if group in chosen}


def command_line(overrides: Sequence[str]) -> str:
    """Return the command that does a job alone, quoted for a shell."""
    return shlex.join(["convlens", *overrides])
