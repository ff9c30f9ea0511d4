"""The command line: ``convlens task=... model=... data=...``, composed and swept by Hydra.

Nothing large is imported before a task starts, so that ``--help`` and ``--cfg job`` are quick.
"""

import contextlib
import io
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import hydra
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from convlens.cli.arguments import flags_first, help_asked, with_task
from convlens.cli.jobs import job
from convlens.cli.outcomes import finish_sweep
from convlens.cli.sweep_callback import sweeps_folder
from convlens.errors import InputError
from convlens.io.resources import resource_error
from convlens.runs.conf_files import conf_dir, groups
from convlens.runs.config_errors import NO_OPTION, explain, unstarted

FULL_ERROR = "HYDRA_FULL_ERROR"
"""The variable of the environment that asks Hydra for tracebacks."""


def main() -> None:
    """Run the command; the entry point of the console script.

    Raises:
        SystemExit: with code 2 for an error that the user can mend, 1 for another one, 130 after Ctrl-C.
    """
    traceback_asked = os.environ.get(FULL_ERROR) == "1"
    arguments = sys.argv[1:]
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for names that are not UTF-8
    try:
        arguments = with_task(flags_first(arguments))
        if task := help_asked(arguments):
            from convlens.cli.task_help import task_help

            print(task_help(task))
            return
        with _process(arguments):
            hydra.main(config_path=str(conf_dir()), config_name="config", version_base="1.3")(job)()
    except KeyboardInterrupt:  # before a job began
        print("convlens: stopped", file=sys.stderr)
        raise SystemExit(130) from None
    except SystemExit as stop:  # of a job, or of a sweep that was refused
        if not isinstance(stop.__cause__, Exception):
            raise
        _end(stop.__cause__, arguments, traceback_asked)
    except Exception as error:  # before a job began, or of a launcher
        if "-m" in arguments or "--multirun" in arguments:
            _end_sweep(error, arguments, traceback_asked)
        _end(error, arguments, traceback_asked)


@contextlib.contextmanager
def _process(arguments: Sequence[str]) -> Iterator[None]:
    """Give Hydra the arguments, and have it raise errors instead of printing them over many lines."""
    argv, before = sys.argv, os.environ.get(FULL_ERROR)
    sys.argv, os.environ[FULL_ERROR] = [argv[0], *arguments], "1"
    try:
        yield
    finally:
        sys.argv = argv
        if before is None:
            del os.environ[FULL_ERROR]
        else:
            os.environ[FULL_ERROR] = before


def _end(error: Exception, arguments: Sequence[str], traceback_asked: bool) -> NoReturn:
    """End the command with one line for an error that the user can mend, with a traceback for others."""
    message = _message(error, arguments)
    if traceback_asked or not message:
        traceback.print_exception(error)
        raise SystemExit(1) from None
    print(f"convlens: {message}", file=sys.stderr)
    raise SystemExit(2) from None


def _message(error: Exception, arguments: Sequence[str]) -> str:
    """Return one line for an error that the user can mend; empty for another one."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, HydraException | OmegaConfBaseException) or str(error).startswith(NO_OPTION):
        return explain(error, arguments, groups())
    if found := resource_error(error):
        return str(found)
    if isinstance(error, OSError) and error.filename:
        return f"cannot write to {error.filename} ({error.strerror}): choose another run_dir"
    return ""


def _end_sweep(error: Exception, arguments: Sequence[str], traceback_asked: bool) -> None:
    """End a sweep whose launcher could not start, or broke; in both cases Hydra does not come to the sweep's end."""
    reason = f"{type(error).__name__}: {error}".splitlines()[0]
    lacking = resource_error(error)
    if not lacking and (folder := _unfinished_sweep(arguments)):
        finish_sweep(folder)
        print(f"convlens: the sweep broke off ({reason}): give the same command to continue", file=sys.stderr)
        raise SystemExit(1) from None
    if not (_message(error, arguments) or traceback_asked):
        print(f"convlens: {unstarted(error, arguments)}", file=sys.stderr)
        raise SystemExit(2) from None


def _unfinished_sweep(arguments: Sequence[str]) -> Path | None:
    """Return the folder in which this process keeps the outcomes of a sweep; None if no job began."""
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        given = [argument for argument in arguments if argument.lstrip("+").startswith("output_root=")]
        folder = sweeps_folder(hydra.compose("config", given))
    return max(folder.glob(f"*-{os.getpid()}"), default=None)


if __name__ == "__main__":
    main()
