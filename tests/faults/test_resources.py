"""Errors of the machine as one line: which errors are, what is said, and what is left."""

import errno
import io
import logging
import os
import resource
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from convlens.analysis.galleries.array_store import Patches
from convlens.data.decode import UnreadableImageError, read_square
from convlens.errors import InputError, ResourceError
from convlens.io.arrays import write_array
from convlens.io.memory_maps import create_memory_map
from convlens.io.resources import resource_error
from convlens.runs.run_log import RunLog
from tests.faults.injection import limited


def raised(call) -> BaseException:
    with pytest.raises((OSError, MemoryError, RuntimeError)) as caught:
        call()
    return caught.value


def system(code: int, name: str | None = None) -> OSError:
    return OSError(code, os.strerror(code), name)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (system(errno.ENOSPC, "out/a.npy"), "the disk is full while writing to out ("),
        (system(errno.EDQUOT), "the disk is full while writing to run ("),
        (
            system(errno.EROFS, "out/.a.1.partial"),
            "cannot write to out (Read-only file system): choose another",
        ),
        (system(errno.EACCES, "out/a"), "no access to out/a (Permission denied): change its permissions"),
        (system(errno.EPERM), "no access to run (Permission denied)"),
        (system(errno.EIO, "out/a"), "the disk fails at out/a (Input/output error)"),
        (system(errno.EFBIG), "a file in run would be larger than allowed: raise the limit with `ulimit -f`"),
        (system(errno.EMFILE, "a"), "too many open files (this process may open "),
        (system(errno.ENFILE), "too many open files"),
        (system(errno.ENOMEM), "out of memory: lower data.batch_size"),
        (OSError("1000 requested and 496 written"), "only a part of a file could be written to run ("),
        (OSError("Caught OSError in worker 0.\n[Errno 24] Too many open files: 'a'"), "too many open files"),
        (RuntimeError("failed: OSError: [Errno 28] No space left on device"), "the disk is full while writing to run"),
        (RuntimeError("received 0 items of ancdata"), "too many open files"),
        (
            RuntimeError("unable to write to file </torch_1>: No space left on device (28)"),
            "the workers' shared",
        ),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB."), "out of memory (asked for 2.00 GiB more): "),
        (raised(lambda: torch.empty(10**15)), "out of memory (asked for 4000000000000000 bytes more): lower data.ba"),
        (raised(lambda: np.empty(10**15)), "out of memory (asked for 7.11 PiB more): lower"),
        (MemoryError(), "out of memory: lower data.batch_size, or free some memory"),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), "out of memory: lower"),
    ],
    ids=lambda value: f"{type(value).__name__}-{getattr(value, 'errno', '')}" if isinstance(value, Exception) else "",
)
def test_an_error_of_the_machine_is_one_line(error, said):
    found = resource_error(error, Path("run"))
    assert str(found).startswith(said)
    assert "\n" not in str(found)
    wrapped = KeyError("other")
    wrapped.__cause__ = error
    assert str(resource_error(wrapped, Path("run"))) == str(found)


def test_an_error_during_the_clean_up_does_not_hide_the_first_one():
    def clean_up_after(error: OSError) -> None:
        try:
            raise error
        finally:
            raise RuntimeError("close it first")

    assert str(resource_error(raised(lambda: clean_up_after(system(errno.EMFILE))))).startswith("too many open files")
    # A file that may not be read is often no error, and what follows has another reason.
    assert resource_error(raised(lambda: clean_up_after(system(errno.EACCES)))) is None


@pytest.mark.parametrize(
    "error",
    [FileNotFoundError(errno.ENOENT, "none", "a"), ValueError("[Errno 28]"), RuntimeError("shape"), InputError("x")],
)
def test_other_errors_are_not_the_machines(error):
    assert resource_error(error) is None


def test_a_memory_map_has_its_room_on_the_disk(tmp_path):
    array = create_memory_map(tmp_path / "a.npy", np.uint8, (300, 1000))
    assert os.stat(tmp_path / "a.npy").st_blocks * 512 >= 300_000
    array[299] = 7
    array.flush()
    assert np.load(tmp_path / "a.npy").sum() == 7000


def test_a_memory_map_without_room_is_an_error_and_no_file(tmp_path, monkeypatch):
    def full(descriptor, start, size):
        assert size == 1128
        raise system(errno.ENOSPC)

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left") as caught:
        Patches.create(tmp_path, "conv1.patches", (1, 1, 10, 10, 10))
    assert caught.value.filename == str(tmp_path / "conv1.patches.npy")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_the_system_cuts_short_is_not_left(tmp_path):
    with limited(resource.RLIMIT_FSIZE, 4096), pytest.raises(ResourceError, match="only a part of a file could"):
        write_array(tmp_path / "a.npy", np.zeros(100_000))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [system(errno.EMFILE), MemoryError("no")])
def test_an_image_is_not_unreadable_because_the_process_lacks_something(tmp_path, monkeypatch, error):
    def lacking(path):
        raise errors[0]

    errors = [error]
    monkeypatch.setattr("convlens.data.decode.Image.open", lacking)
    with pytest.raises(type(error)):
        read_square(tmp_path / "a.png", 8)
    errors[0] = system(errno.EIO)
    with pytest.raises(UnreadableImageError, match="Input/output error"):
        read_square(tmp_path / "a.png", 8)


def test_a_log_that_cannot_be_written_is_given_up_with_one_warning(tmp_path, capsys):
    log, console = logging.getLogger("here"), logging.StreamHandler(seen := io.StringIO())
    root = logging.getLogger()
    handlers = [RunLog(tmp_path / "missing" / "run.log", delay=True), console]
    for handler in handlers:
        root.addHandler(handler)
    try:
        log.warning("one")
        log.warning("two")
    finally:
        for handler in handlers:
            root.removeHandler(handler)
    said = seen.getvalue().splitlines()
    assert said == [f"{tmp_path}/missing/run.log ends here (No such file or directory)", "one", "two"]
    assert capsys.readouterr().err == ""


def test_a_thread_that_lacks_something_ends_the_job_without_a_traceback(convlens, monkeypatch, capsys):
    def work(cfg, overrides):
        def fail() -> None:
            raise system(errno.ENOSPC, "out/events")

        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()
        return 0

    monkeypatch.setattr("convlens.runs.dispatch.dispatch", work)
    outcome = convlens("run_dir=out")
    assert outcome.code == 2
    assert outcome.err.startswith("convlens: the disk is full while writing to out (")
    assert outcome.err.count("\n") == 1


def test_an_error_that_is_among_its_own_causes_is_no_error_of_the_machine():
    inner, outer = ValueError("no"), RuntimeError("no")
    inner.__cause__, outer.__cause__ = outer, inner
    assert resource_error(inner) is None
