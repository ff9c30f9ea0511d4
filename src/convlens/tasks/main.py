"""The command line: ``convlens task=... model=... data=...``, composed and swept by Hydra.

Nothing heavy is imported before a task starts, so that ``--help`` and ``--cfg job`` are quick.
"""

import contextlib
import io
import os
import sys
import time
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from convlens.errors import InputError
from convlens.tasks.mistakes import explain
from convlens.tasks.naming import job_name, run_dir

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
    OmegaConf.register_new_resolver("convlens.run_dir", run_dir, replace=True)
    OmegaConf.register_new_resolver("convlens.absolute", os.path.abspath, replace=True)
    OmegaConf.register_new_resolver("convlens.one_or", one_or, replace=True)


def one_or(value: Any, usual: Any) -> Any:
    """A sweep's value as a list of one, or the usual list where it sweeps over other things."""
    return usual if value is None else [value]


def do_job(cfg: DictConfig) -> int:
    """One job; returns its exit code."""
    from convlens.tasks.dispatch import dispatch

    # As `python -m` does, so that model.net._target_ finds a module beside the user.
    sys.path.append(os.getcwd())
    hydra_cfg = HydraConfig.get()
    try:
        return dispatch(cfg, list(hydra_cfg.overrides.task))
    except InputError as error:
        if _wants_traceback():
            raise
        print(f"convlens: {error}", file=sys.stderr)
        _remove_empty(Path(hydra_cfg.runtime.output_dir), Path(cfg.output_root).resolve())
        return 2
    except (KeyboardInterrupt, SystemExit) as stop:
        # Lightning turns both into exits, of which one looks like a success.
        print("convlens: stopped; the same command goes on where it was", file=sys.stderr)
        by_key = isinstance(stop, KeyboardInterrupt) or isinstance(stop.__context__, KeyboardInterrupt)
        raise SystemExit(INTERRUPTED if by_key else TERMINATED) from None


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


def main() -> None:
    """Entry point of the console script; exit code 2 for what the user can mend, 1 for what failed."""
    register_resolvers()
    codes: list[int] = []
    started = False
    # Hydra prints composition errors over many lines, which are said in one instead.
    composing = HeldBack()

    def job(cfg: DictConfig) -> None:
        nonlocal started
        started = True
        composing.release()
        codes.append(do_job(cfg))

    try:
        hydra.main(config_path=str(conf_dir()), config_name="config", version_base="1.3")(job)()
    except OSError as stop:
        if started or _wants_traceback():
            raise
        composing.release(show=False)
        print(f"convlens: cannot write to {stop.filename} ({stop.strerror}): choose another run_dir", file=sys.stderr)
        raise SystemExit(2) from None
    except (SystemExit, OmegaConfBaseException) as stop:
        error = stop.__context__ if isinstance(stop, SystemExit) else stop
        if not started and not _wants_traceback() and isinstance(error, HydraException | OmegaConfBaseException):
            composing.release(show=False)
            print(f"convlens: {explain(error, sys.argv[1:], groups())}", file=sys.stderr)
            raise SystemExit(2) from None
        raise
    finally:
        composing.release()
    if any(codes):
        raise SystemExit(max(codes))


if __name__ == "__main__":
    main()
