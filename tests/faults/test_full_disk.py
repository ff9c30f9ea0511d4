"""A full disk and a read-only one: each task ends with one line, and goes on when there is room."""

import errno
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.commands import COMMANDS, arguments_of, leftovers, prepare, results
from tests.faults.injection import fault
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


FULL = ("the disk is full while writing to", "GB are free", "no room for the decoded images")


def check_refused(outcome: Outcome, *expected: str) -> None:
    assert outcome.code == 2, outcome
    assert outcome.err.count("\n") == 1, outcome.err
    assert outcome.err.startswith("convlens: "), outcome.err
    assert any(text in outcome.err for text in expected), outcome.err
    assert "Traceback" not in outcome.out


@pytest.mark.slow
@pytest.mark.parametrize(("share", "once"), [(0.2, False), (0.5, True), (0.85, False)])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_disk_that_is_full_at_any_write(convlens_in, whole, folder, name, share, once):
    expected = whole(name)
    with fault(folder, errno.ENOSPC, int(share * expected.calls), once=once) as disk:
        outcome = convlens_in(folder, *arguments_of(name))
    assert disk.calls > disk.after
    if once and outcome.code == 0:  # what it lacks was not needed, or written later
        assert outcome.err == ""
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
