"""Commands in forked processes, which start at once, and are killed or interrupted at a chosen moment."""

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from convlens.cli.main import main


def command(*arguments: str) -> Callable[[], None]:
    """A call of `convlens` with these arguments."""

    def call() -> None:
        import sys

        sys.argv = ["convlens", *arguments]
        main()

    return call


def start(call: Callable[[], None], folder: Path, log: Path) -> int:
    """Start a call in a folder, as a process group of its own that writes to a log; return its pid."""
    pid = os.fork()
    if pid:
        with contextlib.suppress(PermissionError):  # it has done so itself
            os.setpgid(pid, pid)
        return pid
    code = 1
    try:
        os.setpgid(0, 0)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        target = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(target, 1)
        os.dup2(target, 2)
        os.chdir(folder)
        call()
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)


def finish(pid: int) -> int:
    """Wait for a process; return its exit code, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def stopped(pid: int, after: float, *signals: int, pause: float = 0.05) -> int:
    """Send signals to a process after some seconds; the first to it alone, as Ctrl-C of a shell does to its group."""
    end = time.monotonic() + after
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    for number, sent in enumerate(signals):
        time.sleep(pause if number else 0)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, sent)
    return finish(pid)
