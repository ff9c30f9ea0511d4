"""Errors of the machine (a full or read-only disk, little memory, few open files) as one line with what would help."""

import errno
import re
import shutil
from pathlib import Path

from convlens.errors import ResourceError

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
DENIED = (errno.EACCES, errno.EPERM)
TOO_MANY_FILES = (errno.EMFILE, errno.ENFILE)
CODES = {*DISK_FULL, *DENIED, *TOO_MANY_FILES, errno.EROFS, errno.EFBIG, errno.EIO, errno.ENOMEM}
"""Error numbers that are the machine's, not a mistake in the program."""
SHARED_MEMORY = re.compile(r"unable to (write to|open shared memory) .*No space left|out of shared memory")
"""Torch's message for batches of workers that do not fit into ``/dev/shm``."""
NO_MEMORY = re.compile(
    r"out of memory|not enough memory|DefaultCPUAllocator|[Cc]annot allocate memory|std::bad_alloc|Unable to allocate|"
    r"failed to map segment|can't start new thread|killed by signal: Killed"
)
FEW_FILES = re.compile(r"Too many open files|received \d+ items of ancdata")
ROOM = "make room or choose another run_dir"
SHORT_WRITE = re.compile(r"\d+ requested and \d+ written")
"""Numpy's message, without an error number, for an array of which the disk takes only a part."""


def resource_error(error: BaseException, folder: Path | None = None, memory: str = "") -> ResourceError | None:
    """Return the error to raise for an error of the machine, or one that such an error caused; None for another one.

    Errors that a process of a data loader or of a library has passed on as text are recognised, too.

    Args:
        error: any exception.
        folder: what was being written to, if the error does not say it.
        memory: settings that bound the memory, such as ``data.batch_size``.
    """
    cause: BaseException | None = error
    seen: set[int] = set()  # an error may be among its own causes
    handled = False  # whether the next error was being handled when another one was raised
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        if isinstance(cause, ResourceError):
            return cause
        # A file that may not be read is often no error; what went wrong afterwards has another reason.
        message = "" if handled and isinstance(cause, PermissionError) else _message(cause, folder or Path(), memory)
        if message:
            return ResourceError(message)
        handled = handled or cause.__cause__ is None
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return None


def is_disk_full(error: BaseException | None) -> bool:
    """Return whether an error reports that the disk or the user's quota is full."""
    return isinstance(error, OSError) and error.errno in DISK_FULL


def is_shortage(error: BaseException) -> bool:
    """Return whether an error says nothing about the file being read: the process lacks memory or open files."""
    return isinstance(error, MemoryError) or (
        isinstance(error, OSError) and error.errno in (*TOO_MANY_FILES, errno.ENOMEM)
    )


def _message(error: BaseException, folder: Path, memory: str) -> str:
    """Return the line for one error, without its causes; empty if it is not the machine's."""
    text = str(error)
    if SHARED_MEMORY.search(text):
        return "the workers' shared memory (/dev/shm) is full: enlarge it, or set data.num_workers=0"
    code = _code(error, text)
    if isinstance(error, MemoryError) or code == errno.ENOMEM or _is_no_memory(error, text):
        found = re.search(r"allocate (\d[\d.]* ?([KMGTPE]i?B|bytes))", text)
        asked = f" (asked for {found[1]} more)" if found else ""
        return f"out of memory{asked}: lower {memory or 'data.batch_size'}, or free some memory"
    if code in TOO_MANY_FILES:
        return f"too many open files{_limit()}: raise the limit with `ulimit -n`, or lower data.num_workers"
    if isinstance(error, OSError) and error.errno is None and SHORT_WRITE.search(text):
        return f"only a part of a file could be written to {folder} ({_free(folder)}): {ROOM}"
    name = getattr(error, "filename", None)
    path = Path(name) if isinstance(name, str) else None
    folder = folder if path is None else path.parent
    where = folder if path is None or path.name.endswith(".partial") else path
    return _file_message(code, folder, where)


def _file_message(code: int | None, folder: Path, where: Path) -> str:
    """Return the line for an error of a file or folder."""
    if code in DISK_FULL:
        return f"the disk is full while writing to {folder} ({_free(folder)}): {ROOM}"
    if code == errno.EROFS:
        return f"cannot write to {where} (Read-only file system): choose another run_dir"
    if code in DENIED:
        return f"no access to {where} (Permission denied): change its permissions, or choose another folder"
    if code == errno.EFBIG:
        return f"a file in {folder} would be larger than allowed: raise the limit with `ulimit -f`, or {ROOM}"
    if code == errno.EIO:
        return f"the disk fails at {where} (Input/output error): check it, or choose another folder"
    return ""


def _code(error: BaseException, text: str) -> int | None:
    """Return the number of an error of the machine; None for another error."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno if error.errno in CODES else None
    if not isinstance(error, OSError | RuntimeError):
        return None
    if FEW_FILES.search(text):
        return errno.EMFILE
    found = [int(number) for number in re.findall(r"\[Errno (\d+)\]", text)]
    return next((number for number in reversed(found) if number in CODES), None)


def _is_no_memory(error: BaseException, text: str) -> bool:
    return isinstance(error, RuntimeError | ImportError | OSError) and bool(NO_MEMORY.search(text))


def _free(folder: Path) -> str:
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    return f"{shutil.disk_usage(existing).free / 1e6:.0f} MB free"


def _limit() -> str:
    """Return in parentheses how many files this process may open, where that is known."""
    return f" (this process may open {resource.getrlimit(resource.RLIMIT_NOFILE)[0]})" if resource else ""
