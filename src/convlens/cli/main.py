"""The command line: ``convlens task=... model=... data=...``, composed and swept by Hydra.

Nothing heavy is imported before a task starts, so that ``--help`` and ``--cfg job`` are quick.
"""

import contextlib
import io
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any, ClassVar

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from convlens.cli.sweep_callback import (
    DONE,
    ELSEWHERE,
    FAILED,
    REFUSED,
    SKIPPED,
    Outcome,
    SweepRecord,
    in_sweep,
    objective,
)
from convlens.cli.sweep_jobs import alone, starts_others
from convlens.errors import BusyError, InputError
from convlens.io.atomic import directory_lock, write_bytes
from convlens.runs.config_errors import explain, unstarted
from convlens.runs.naming import group, job_name, run_dir, without
from convlens.runs.record import read_json

STARTED = time.time()
INTERRUPTED, TERMINATED = 130, 143  # what a shell shows for a process that Ctrl-C or SIGTERM ended


def conf_dir() -> Path:
    """The configuration: inside the installed package, or beside ``src`` in a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "conf"
    return installed if installed.exists() else package.parents[1] / "conf"


def groups() -> list[str]:
    """Names of the configuration's groups."""
    return [path.name for path in conf_dir().iterdir() if path.is_dir() and path.name != "hydra"]


def register_resolvers() -> None:
    """Names that the configuration uses."""
    OmegaConf.register_new_resolver("convlens.job_name", job_name, replace=True)
    OmegaConf.register_new_resolver("convlens.without", without, replace=True)
    OmegaConf.register_new_resolver("convlens.run_dir", run_dir, replace=True)
    OmegaConf.register_new_resolver("convlens.group", group_of, replace=True)
    OmegaConf.register_new_resolver("convlens.absolute", os.path.abspath, replace=True)
    OmegaConf.register_new_resolver("convlens.one_or", one_or, replace=True)
    OmegaConf.register_new_resolver("convlens.half", lambda number: number // 2, replace=True)


def group_of(name: str, data: str) -> str:
    """The group of this process's job in a dashboard."""
    return group(name, data, SweepRecord.last.name if SweepRecord.last is not None else "")


def one_or(value: Any, usual: Any) -> Any:
    """A sweep's value as a list of one, or the usual list where it sweeps over other things."""
    return usual if value is None else [value]


def do_job(cfg: DictConfig) -> Outcome:
    """One job, and what became of it."""
    from convlens.runs.dispatch import dispatch

    # As `python -m` does, so that model.net._target_ finds a module beside the user.
    sys.path.append(os.getcwd())
    hydra_cfg = HydraConfig.get()
    run_dir = Path(hydra_cfg.runtime.output_dir)
    before = read_json(run_dir / "run.json")
    try:
        if in_sweep() and starts_others(cfg):
            return _by_itself(cfg, list(hydra_cfg.overrides.task), run_dir, before)
        code = dispatch(cfg, list(hydra_cfg.overrides.task))
    except InputError as error:
        if _wants_traceback():
            raise
        if isinstance(error, BusyError) and in_sweep():
            return Outcome(ELSEWHERE, str(run_dir), said=str(error))
        print(f"convlens: {error}", file=sys.stderr)
        _remove_empty(run_dir, Path(cfg.output_root).resolve())
        return Outcome(REFUSED, str(run_dir), 2, str(error))
    except (KeyboardInterrupt, SystemExit) as stop:
        # Lightning turns both into exits, of which one looks like a success.
        print("convlens: stopped; the same command goes on where it was", file=sys.stderr)
        by_key = isinstance(stop, KeyboardInterrupt) or isinstance(stop.__context__, KeyboardInterrupt)
        raise SystemExit(INTERRUPTED if by_key else TERMINATED) from None
    except Exception as error:
        if not in_sweep():
            raise
        traceback.print_exc()
        if not (run_dir / "traceback.txt").exists():  # it came before the run had a record
            write_bytes(run_dir / "traceback.txt", traceback.format_exc().encode())
        cause = error.__cause__ if isinstance(error, InstantiationException) and error.__cause__ else error
        return Outcome(FAILED, str(run_dir), 1, f"{type(cause).__name__}: {cause}".splitlines()[0])
    return _finished(cfg, run_dir, before, code)


def _finished(cfg: DictConfig, run_dir: Path, before: dict[str, Any], code: int = 0) -> Outcome:
    record = read_json(run_dir / "run.json")
    # An analysis of a run writes into that run and leaves its record as it was.
    same = cfg.run is None and record == before and record.get("status") == "finished"
    return Outcome(SKIPPED if same else DONE, str(run_dir), code, objective=objective(run_dir))


def _by_itself(cfg: DictConfig, overrides: list[str], run_dir: Path, before: dict[str, Any]) -> Outcome:
    """A job of several devices, as a command of its own, and what became of it."""
    with directory_lock(run_dir):
        pass  # where another sweep works, that is said before anything is started
    code = alone(cfg, overrides)
    if code == 0:
        return _finished(cfg, run_dir, before)
    said = str(read_json(run_dir / "run.json").get("error") or "")
    if code == 2:
        return Outcome(REFUSED, str(run_dir), 2, said or "its own line above says why")
    ended = f"ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
    return Outcome(FAILED, str(run_dir), 1, said or ended)


def _remove_empty(folder: Path, root: Path) -> None:
    """Take away the directory that Hydra made for a job that wrote nothing, and those above it up to ``root``."""
    with contextlib.suppress(OSError):
        if folder.stat().st_ctime < STARTED:
            return  # it was there before
        folder.rmdir()
        for parent in folder.parents:
            if parent.is_relative_to(root):
                parent.rmdir()


def _wants_traceback() -> bool:
    return os.environ.get("HYDRA_FULL_ERROR") == "1"


class HeldBack(io.StringIO):
    """Takes what is written to stderr until it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.stderr = sys.stderr
        sys.stderr = self

    def release(self, show: bool = True) -> None:
        """Give stderr back, and what was written meanwhile unless it is better said otherwise."""
        if sys.stderr is self:
            sys.stderr = self.stderr
            sys.stderr.write(self.getvalue() if show else "")


class Terminal:
    """What the command's own process knows of its jobs; those that a launcher starts elsewhere leave it as it is."""

    held: HeldBack | None = None
    codes: ClassVar[list[int]] = []
    started = False


def job(cfg: DictConfig) -> Outcome:
    """What Hydra calls for each job; a function of this module, so that launchers can hand it to other processes."""
    Terminal.started = True
    if Terminal.held is not None:
        Terminal.held.release()
    outcome = do_job(cfg)
    Terminal.codes.append(outcome.code)
    return outcome


def main() -> None:
    """Entry point of the console script; exit code 2 for what the user can mend, 1 for what failed."""
    Terminal.started, Terminal.codes = False, []
    # Hydra prints composition errors over many lines, which are said in one instead.
    composing = Terminal.held = HeldBack()
    try:
        hydra.main(config_path=str(conf_dir()), config_name="config", version_base="1.3")(job)()
    except OSError as stop:
        if Terminal.started or _wants_traceback():
            raise
        composing.release(show=False)
        print(f"convlens: cannot write to {stop.filename} ({stop.strerror}): choose another run_dir", file=sys.stderr)
        raise SystemExit(2) from None
    except (SystemExit, OmegaConfBaseException) as stop:
        error = stop.__context__ if isinstance(stop, SystemExit) else stop
        if isinstance(error, InputError):  # of the sweep as a whole
            composing.release(show=False)
            print(f"convlens: {error}", file=sys.stderr)
            raise SystemExit(2) from None
        if (
            not Terminal.started
            and not _wants_traceback()
            and isinstance(error, HydraException | OmegaConfBaseException)
        ):
            composing.release(show=False)
            print(f"convlens: {explain(error, sys.argv[1:], groups())}", file=sys.stderr)
            raise SystemExit(2) from None
        if isinstance(error, Exception) and not _wants_traceback():
            _launcher_failed(error, composing)
        raise
    finally:
        composing.release()
        Terminal.held = None
    if any(Terminal.codes):
        raise SystemExit(max(Terminal.codes))


def _launcher_failed(error: Exception, composing: HeldBack) -> None:
    """Say what became of a sweep whose launcher broke, of which Hydra does not come to the end.

    Raises:
        SystemExit: no job began: exit code 2.
    """
    record = SweepRecord.last
    if record is None or record.folder is None:
        return
    said = f"{type(error).__name__}: {error}".splitlines()[0]
    if record.folder.exists():
        composing.release()
        record.tell()
        print(f"convlens: the sweep broke off ({said}): give the same command to go on", file=sys.stderr)
    elif not Terminal.started:
        composing.release(show=False)
        print(f"convlens: {unstarted(error, sys.argv[1:])}", file=sys.stderr)
        raise SystemExit(2) from None


# When the module is imported: a launcher's process knows nothing else of convlens.
register_resolvers()

if __name__ == "__main__":
    # Under its own name, by which launchers find the job in other processes.
    from convlens.cli import main as named

    named.main()
