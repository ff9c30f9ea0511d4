"""Errors of the disk: injected into the calls of this process, or made by a disk that is really small or read-only."""

import contextlib
import errno
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MAKING = {"os.mkdir": 0, "os.rename": 1, "os.link": 1, "os.symlink": 1}
"""Calls that need room on the disk, with the position of the path among their arguments; `open` is apart."""
CHANGING = MAKING | {"os.remove": 0, "os.rmdir": 0, "os.truncate": 0, "os.utime": 0, "os.chmod": 0}
"""Calls that a read-only disk refuses."""
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


@dataclass
class Fault:
    """What happens to the calls that write below a folder.

    Attributes:
        folder: the folder.
        code: the error's number; None to count the calls only.
        after: how many calls succeed first.
        once: whether only one call fails; otherwise all later ones do, too.
        calls: how many there were.
    """

    folder: str
    code: int | None = None
    after: int = 0
    once: bool = False
    calls: int = 0

    def see(self, event: str, arguments: tuple) -> None:
        """Fail, or count a call; called by Python for each call of the system."""
        position = (MAKING if self.code in (errno.ENOSPC, None) else CHANGING).get(event)
        if event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING:
            position = 0
        if position is None or not isinstance(arguments[position], str | bytes | os.PathLike):
            return
        path = os.path.abspath(os.fsdecode(arguments[position]))
        if not path.startswith(self.folder + os.sep):
            return
        self.calls += 1
        fails = self.calls == self.after + 1 if self.once else self.calls > self.after
        if self.code is not None and fails:
            raise OSError(self.code, os.strerror(self.code), path)


_active: list[Fault] = []


def _hook(event: str, arguments: tuple) -> None:
    for fault in _active:
        fault.see(event, arguments)


@contextlib.contextmanager
def fault(folder: Path, code: int | None = None, after: int = 0, *, once: bool = False) -> Iterator[Fault]:
    """Let the calls that write below a folder fail, or count them."""
    if not hasattr(fault, "installed"):
        sys.addaudithook(_hook)  # for good: Python cannot remove it
        fault.installed = True
    made = Fault(str(folder), code, after, once)
    _active.append(made)
    try:
        yield made
    finally:
        _active.remove(made)


@contextlib.contextmanager
def limited(kind: int, value: int) -> Iterator[None]:
    """Lower a limit of this process, such as ``resource.RLIMIT_FSIZE``, which the system itself then keeps."""
    soft, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (value, hard))
    try:
        yield
    finally:
        resource.setrlimit(kind, (soft, hard))


# In a mount namespace of its own: the mount ends with the process.
_NAMESPACE = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]


def can_mount(folder: Path) -> bool:
    """Whether this user may mount a disk of their own."""
    script = ["sh", "-c", 'mount -t tmpfs -o size=64k none "$0"', str(folder)]
    try:
        return subprocess.run([*_NAMESPACE, *script], capture_output=True, timeout=20).returncode == 0
    except OSError:
        return False


def type_on_disk(
    folder: Path, *arguments: str, kilobytes: int | None = None, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess:
    """Run ``convlens`` in ``folder``, which is copied to a disk of so many kilobytes, or is read-only.

    What the command leaves on the small disk is copied to ``<folder>/../left``.
    """
    left = folder.parent / "left"
    left.mkdir(exist_ok=True)
    if kilobytes is None:
        mount = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && cd "$0" && exec "$@"'
    else:
        mount = (
            f'd=$(mktemp -d) && cp -a "$0/." $d && mount -t tmpfs -o size={kilobytes}k none "$0" && cp -a $d/. "$0" && '
            f'rm -r $d && cd "$0" && "$@"; code=$?; cp -a "$0/." "{left}"; exit $code'
        )
    command = [sys.executable, "-m", "convlens.cli.main", *arguments]
    variables = os.environ | {"OMP_NUM_THREADS": "1"} | (environment or {})
    return subprocess.run(
        [*_NAMESPACE, "sh", "-c", mount, str(folder), *command],
        capture_output=True,
        text=True,
        env=variables,
        timeout=300,
    )
