"""One job: run its task, and turn errors into exit codes or, in a sweep, into outcomes."""

import contextlib
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from convlens.cli.outcomes import DONE, ELSEWHERE, FAILED, REFUSED, SKIPPED, Outcome, objective
from convlens.cli.sweep_jobs import needs_own_command, run_alone
from convlens.errors import BusyError, InputError, ResourceError
from convlens.io.atomic import write_bytes
from convlens.io.locks import directory_lock
from convlens.io.names import document_bytes
from convlens.io.resources import resource_error
from convlens.runs.compose import register_resolvers
from convlens.runs.record_file import read_record

STARTED = time.time()
INTERRUPTED, TERMINATED = 130, 143
"""Exit codes that a shell shows for a process that Ctrl-C or SIGTERM ended."""


def job(cfg: DictConfig) -> Outcome:
    """Run one job; Hydra calls this, in a process of a launcher too, so it is a function of a module.

    Returns:
        The outcome of a job of a sweep, or of a single job that succeeded.

    Raises:
        SystemExit: a single job did not succeed; from the error, if there was one.
    """
    overrides = [str(override) for override in HydraConfig.get().overrides.task]
    run_dir = Path(HydraConfig.get().runtime.output_dir)
    before = read_record(run_dir)
    sweep = HydraConfig.get().mode is RunMode.MULTIRUN
    try:
        with _user_modules(), _errors_of_threads(run_dir):
            if sweep and needs_own_command(cfg):
                return _run_alone(cfg, overrides, run_dir, before)
            from convlens.runs.dispatch import dispatch

            code = dispatch(cfg, overrides)
    except (KeyboardInterrupt, SystemExit) as stop:
        # Lightning turns both into exits, one of which looks like a success.
        print("convlens: stopped; the same command continues from there", file=sys.stderr)
        by_key = isinstance(stop, KeyboardInterrupt) or isinstance(stop.__context__, KeyboardInterrupt)
        raise SystemExit(INTERRUPTED if by_key else TERMINATED) from None
    except Exception as raised:
        error = resource_error(raised, run_dir) or raised  # most are explained by the task
        refused = isinstance(error, InputError | OmegaConfBaseException)  # the command line says both in one line
        if refused:
            _remove_empty(run_dir, Path(cfg.output_root).resolve())
        if not sweep:
            raise SystemExit(2 if refused else 1) from error
        return _refused(error, run_dir) if isinstance(error, InputError) else _failed(error, run_dir)
    if code and not sweep:
        raise SystemExit(code)
    return _finished(cfg, run_dir, before, code)


def _finished(cfg: DictConfig, run_dir: Path, before: Mapping[str, object], code: int = 0) -> Outcome:
    record = read_record(run_dir)
    # An analysis of a run writes into that run and leaves its record as it was.
    same = cfg.run is None and record == before and record.get("status") == "finished"
    return Outcome(SKIPPED if same else DONE, str(run_dir), code, objective=objective(run_dir))


def _refused(error: InputError, run_dir: Path) -> Outcome:
    if isinstance(error, BusyError):
        return Outcome(ELSEWHERE, str(run_dir), reason=str(error))
    print(f"convlens: {error}", file=sys.stderr)
    return Outcome(REFUSED, str(run_dir), 2, str(error))


def _failed(error: Exception, run_dir: Path) -> Outcome:
    traceback.print_exception(error)
    if not (run_dir / "traceback.txt").exists():  # the error came before the run had a record
        with contextlib.suppress(OSError, ResourceError):
            write_bytes(run_dir / "traceback.txt", document_bytes("".join(traceback.format_exception(error))))
    cause = error.__cause__ if isinstance(error, InstantiationException) and error.__cause__ else error
    return Outcome(FAILED, str(run_dir), 1, f"{type(cause).__name__}: {cause}".splitlines()[0])


def _run_alone(cfg: DictConfig, overrides: Sequence[str], run_dir: Path, before: Mapping[str, object]) -> Outcome:
    """Run a job of several devices as a command of its own."""
    with directory_lock(run_dir):
        pass  # if another sweep works there, this raises before anything is started
    code = run_alone(cfg, overrides)
    if code == 0:
        return _finished(cfg, run_dir, before)
    reason = str(read_record(run_dir).get("error") or "")
    if code == 2:
        return Outcome(REFUSED, str(run_dir), 2, reason or "its own line above says why")
    ended = f"ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
    return Outcome(FAILED, str(run_dir), 1, reason or ended)


@contextlib.contextmanager
def _errors_of_threads(run_dir: Path) -> Iterator[None]:
    """Raise an error of the machine that ended a thread, such as TensorBoard's, where Python prints its traceback."""
    found: list[ResourceError] = []
    before = threading.excepthook

    def note(raised: threading.ExceptHookArgs) -> None:
        error = resource_error(raised.exc_value, run_dir) if raised.exc_value else None
        if error:
            found.append(error)
        else:
            before(raised)

    threading.excepthook = note
    try:
        yield
    finally:
        threading.excepthook = before
    if found:
        raise found[0]


@contextlib.contextmanager
def _user_modules() -> Iterator[None]:
    """Import modules from the working directory as ``python -m`` does, such as a ``model.net._target_`` of the user."""
    here = os.getcwd()
    added = here not in sys.path
    if added:
        sys.path.append(here)
    try:
        yield
    finally:
        if added and here in sys.path:  # a task that reads somebody else's run takes it out
            sys.path.remove(here)


def _remove_empty(folder: Path, root: Path) -> None:
    """Remove the directory that Hydra made for a job that wrote nothing, and empty ones above it up to ``root``."""
    with contextlib.suppress(OSError):
        if folder.stat().st_ctime < STARTED:
            return  # it existed before
        folder.rmdir()
        for parent in folder.parents:
            if parent.is_relative_to(root):
                parent.rmdir()


# On import: a launcher's process imports nothing else of convlens before it composes.
register_resolvers()
