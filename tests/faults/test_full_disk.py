"""A full disk and a read-only one: each task ends with one line, and goes on when there is room."""

import errno
import resource
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.faults.commands import COMMANDS, arguments_of, leftovers, prepare, results
from tests.faults.injection import can_mount, fault, limited, type_on_disk
from tests.tasks.conftest import Outcome


@pytest.fixture(scope="session")
def template(trained, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("faults") / "template"
    prepare(folder, trained)
    return folder


@dataclass(frozen=True)
class Whole:
    """A command without faults: how many calls write, and the results."""

    calls: int
    results: dict[str, object]


@pytest.fixture(scope="session")
def whole(template, convlens_in) -> Callable[[str], Whole]:
    """Gives a command's results, computed once."""
    found: dict[str, Whole] = {}

    def get(name: str) -> Whole:
        if name not in found:
            folder = template.parent / name
            shutil.copytree(template, folder)
            with fault(folder) as counter:
                outcome = convlens_in(folder, *arguments_of(name))
            assert (outcome.code, outcome.err) == (0, ""), outcome
            found[name] = Whole(counter.calls, results(folder))
        return found[name]

    return get


@pytest.fixture
def folder(template, tmp_path) -> Path:
    shutil.copytree(template, tmp_path / "here")
    return tmp_path / "here"


FULL = ("are free: make room", "the disk is full while writing to", "GB are free", "no room for the decoded images")


def check_refused(outcome: Outcome, *expected: str) -> None:
    assert outcome.code == 2, outcome
    lines = outcome.err.splitlines()
    jobs = 2 if " jobs: " in outcome.out else 1  # a sweep says it of each job
    assert 1 <= len(lines) <= jobs, outcome.err
    for line in lines:
        assert line.startswith("convlens: "), line
        assert any(text in line for text in expected), line
    assert "Traceback" not in outcome.out


@pytest.mark.slow
@pytest.mark.parametrize(("share", "once"), [(0.2, False), (0.5, True), (0.85, False)])
@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "write_shards"])  # its processes would wait
def test_a_disk_that_is_full_at_any_write(convlens_in, whole, folder, name, share, once):
    expected = whole(name)
    with fault(folder, errno.ENOSPC, int(share * expected.calls), once=once) as disk:
        outcome = convlens_in(folder, *arguments_of(name))
    assert disk.calls > disk.after
    if outcome.code == 0:  # only the log is cut short, or a file was written at a second try
        assert (outcome.err, results(folder)) == ("", expected.results)
    else:
        check_refused(outcome, *FULL)
    assert leftovers(folder) == []
    again = convlens_in(folder, *arguments_of(name))
    assert (again.code, again.err) == (0, ""), again
    assert results(folder) == expected.results


@pytest.mark.slow
@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES], ids=["read-only", "denied"])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_folder_that_cannot_be_written_to(convlens_in, folder, name, code):
    before = sorted(folder.rglob("*"))
    with fault(folder, code):
        outcome = convlens_in(folder, *arguments_of(name))
    check_refused(outcome, "cannot write to", "no access to", "cannot be used")
    assert sorted(folder.rglob("*")) == before


@pytest.mark.slow
@pytest.mark.parametrize("limit", [0, 30_000])
@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "write_shards"])  # whose process writes
def test_a_limit_of_the_system_on_the_size_of_files(convlens_in, whole, folder, name, limit):
    """The system itself refuses what goes beyond the limit: within a file, and where room is reserved."""
    expected = whole(name)
    with limited(resource.RLIMIT_FSIZE, limit):
        outcome = convlens_in(folder, *arguments_of(name))
    if limit and outcome.code == 0:
        return  # it writes no larger file
    check_refused(outcome, "would be larger than allowed", "only a part of a file")
    assert leftovers(folder) == []
    again = convlens_in(folder, *arguments_of(name))
    assert (again.code, again.err) == (0, ""), again
    assert results(folder) == expected.results


@pytest.mark.slow
@pytest.mark.parametrize("spare", [16, 500])
@pytest.mark.parametrize("name", ["train", "project", "transfer", "write_shards", "cache"])
def test_a_disk_that_is_really_full(convlens_in, cache, whole, folder, name, spare):
    if not can_mount(folder):
        pytest.skip("this user may not mount a disk")
    expected = whole(name)
    used = int(subprocess.run(["du", "-sk", folder], capture_output=True, text=True).stdout.split()[0])
    own = [argument for argument in arguments_of(name) if not argument.startswith("cache_dir=")]
    where = "decoded" if "cache_dir=decoded" in arguments_of(name) else str(cache)
    done = type_on_disk(folder, *own, f"cache_dir={where}", kilobytes=used + spare)
    check_refused(Outcome(done.returncode, done.stdout, done.stderr), *FULL, "only a part of a file")
    left = folder.parent / "left"
    assert leftovers(left) == []
    again = convlens_in(left, *arguments_of(name))
    assert (again.code, again.err) == (0, ""), again
    assert results(left) == expected.results


@pytest.mark.slow
@pytest.mark.parametrize("name", ["train", "occlude", "report"])
def test_a_disk_that_is_really_read_only(cache, folder, name):
    if not can_mount(folder):
        pytest.skip("this user may not mount a disk")
    done = type_on_disk(folder, *arguments_of(name), f"cache_dir={cache}")
    check_refused(Outcome(done.returncode, done.stdout, done.stderr), "cannot write to")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_comparison_on_a_full_or_read_only_disk(convlens, tmp_path, code):
    """The quick one of these tests."""
    for name in ("a", "b"):
        folder = tmp_path / name / "results" / "test"
        folder.mkdir(parents=True)
        probabilities = np.full((4, 2), 0.5, np.float32)
        np.savez(folder / "predictions.npz", labels=[0, 1, 0, 1], top=np.zeros((4, 2), np.int64), names=list("abcd"))
        np.savez(folder / "probabilities.npz", probabilities=probabilities)
    with fault(tmp_path, code):
        outcome = convlens("task=compare", "task.run_dirs=[a,b]", "run_dir=out")
    check_refused(outcome, "the disk is full while writing to", "cannot write to")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
