"""An earlier run is kept until the new one has made a step, wherever the process is killed."""

import shutil
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import pytest

from convlens.runs.replacement import FILES, clear, discard, restore, set_aside


class KilledError(BaseException):
    """Stands for the end of the process."""


def killed_after(calls: int, act: Callable[[], object]) -> bool:
    """Run ``act`` and end it before its next change of the file system after so many; return whether it was ended."""
    left = iter(range(calls))

    def counted(original: Callable[..., object]) -> Callable[..., object]:
        def change(*args: object, **kwargs: object) -> object:
            if next(left, None) is None:
                raise KilledError
            return original(*args, **kwargs)

        return change

    names = ("rename", "mkdir", "unlink", "rmdir")
    patches = [patch.object(Path, name, counted(getattr(Path, name))) for name in names]
    patches.append(patch("shutil.rmtree", counted(shutil.rmtree)))
    for each in patches:
        each.start()
    try:
        act()
    except KilledError:
        return True
    finally:
        for each in patches:
            each.stop()
    return False


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def fill(folder: Path, text: str, names: tuple[str, ...] = FILES) -> None:
    for name in names:
        path = folder / name if "." in name else folder / name / "sub" / "file.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def run(tmp_path) -> Path:
    fill(tmp_path, "old")
    (tmp_path / "run.log").write_text("log")
    (tmp_path / "mine.txt").write_text("of the user")
    return tmp_path


def test_a_run_that_is_killed_while_it_is_set_aside_comes_back(run):
    before = contents(run)
    calls = 0
    while killed_after(calls, lambda: set_aside(run)):
        restore(run)
        assert contents(run) == before, f"after {calls} changes"
        calls += 1
    assert calls > len(FILES)


@pytest.mark.parametrize("new", [(), ("run.json", "config.yaml", "results"), FILES])
def test_a_run_that_is_killed_while_it_is_put_back_comes_back(run, tmp_path_factory, new):
    before = contents(run)
    set_aside(run)
    fill(run, "new", new)
    killed, calls = True, 0
    while killed:
        copy = tmp_path_factory.mktemp("copy") / "run"
        shutil.copytree(run, copy)
        killed = killed_after(calls, lambda: restore(copy))  # noqa: B023
        restore(copy)
        assert contents(copy) == before, f"after {calls} changes"
        calls += 1
    assert calls > len(FILES)


def test_a_run_that_was_discarded_never_comes_back(run):
    set_aside(run)
    fill(run, "new")
    new = {name: text for name, text in contents(run).items() if not name.startswith(".replaced")}
    assert killed_after(1, lambda: discard(run))  # between the renaming and the removal
    assert not restore(run)
    assert contents(run) == new
    discard(run)
    assert not restore(run)
    assert contents(run) == new


def test_what_a_run_did_not_write_is_never_touched(run):
    set_aside(run)
    clear(run)
    discard(run)
    assert contents(run) == {"run.log": "log", "mine.txt": "of the user"}
