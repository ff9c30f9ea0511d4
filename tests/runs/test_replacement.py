"""An earlier run is kept until the new one has made a step, wherever the process is killed."""

import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convlens.io.json_files import read_json, write_json
from convlens.runs.mended_checkpoints import reopen
from convlens.runs.record_file import write_record
from convlens.runs.replacement import (
    clear,
    discard,
    ended,
    foreign_entry,
    foreign_files,
    is_run,
    listing,
    own_files,
    restore,
    set_aside,
)


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


NAMES = (
    *("config.yaml", "metrics.csv", "metrics.json", "mean.npy", "checkpoints/best.ckpt", "checkpoints/last.ckpt"),
    *("results/test/predictions.npz", "results/projections/best/conv1.png", "tensorboard/events", "wandb/run/files/a"),
)
"""What a run may write."""
FOREIGN = ("run.log", "mine.txt", "results/notes.txt", "checkpoints/best (copy).ckpt", "wandb/run/files/mine")
"""What a user may put into the same directory."""


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def fill(folder: Path, text: str, names: Iterable[str] = NAMES) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def record(folder: Path, **entries: object) -> dict[str, object]:
    """Write the record of a run as a job does."""
    value = {"task": "train", "command": "convlens", "settings": "0" * 16, **entries}
    write_json(folder / "run.json", value)
    return value


@pytest.fixture
def run(tmp_path) -> Path:
    """A finished run with the user's own files in its directory."""
    fill(tmp_path, "old")
    record(tmp_path, status="finished", files=sorted(NAMES))
    fill(tmp_path, "of the user", FOREIGN)
    return tmp_path


def test_a_run_that_is_killed_while_it_is_set_aside_comes_back(run):
    before = contents(run)
    calls = 0
    while killed_after(calls, lambda: set_aside(run)):
        assert is_run(run)
        restore(run)
        assert contents(run) == before, f"after {calls} changes"
        calls += 1
    assert calls > len(NAMES)
    assert {name for name in contents(run) if not name.startswith(".replaced/")} == set(FOREIGN)


@pytest.mark.parametrize("new", [(), ("config.yaml", "results/new/a.npz"), NAMES])
def test_a_run_that_is_killed_while_it_is_put_back_comes_back(run, tmp_path_factory, new):
    before = contents(run)
    set_aside(run)
    if new:
        record(run, status="running", foreign=foreign_files(run))
    fill(run, "new", new)
    killed, calls = True, 0
    while killed:
        copy = tmp_path_factory.mktemp("copy") / "run"
        shutil.copytree(run, copy)
        killed = killed_after(calls, lambda: restore(copy))  # noqa: B023
        assert is_run(copy)
        restore(copy)
        assert contents(copy) == before, f"after {calls} changes"
        calls += 1
    assert calls > len(NAMES)


def test_a_run_that_was_discarded_never_comes_back(run):
    set_aside(run)
    record(run, status="running", foreign=foreign_files(run))
    fill(run, "new")
    new = {name: text for name, text in contents(run).items() if not name.startswith(".replaced")}
    assert killed_after(1, lambda: discard(run))  # between the renaming and the removal
    assert not restore(run)
    assert contents(run) == new
    discard(run)
    assert not restore(run)
    assert contents(run) == new


def test_a_record_lists_what_was_written_and_not_what_was_there(tmp_path):
    fill(tmp_path, "of the user", ["results/notes.txt"])
    running = record(tmp_path, status="running", foreign=foreign_files(tmp_path))
    assert running["foreign"] == ["results/notes.txt"]
    fill(tmp_path, "new")
    write_record(tmp_path, ended(running | {"status": "finished"}, tmp_path))
    assert read_json(tmp_path / "run.json")["files"] == sorted({*NAMES, "run.json", ".run.json"})
    fill(tmp_path, "of the user", ["results/more notes.txt"])
    with listing(tmp_path, "occlusion"):
        fill(tmp_path, "new", ["results/occlusion/a.png"])
    assert own_files(tmp_path) == {*NAMES, "run.json", ".run.json", "results/occlusion/a.png"}


def test_a_record_of_version_0_1_owns_all_that_has_the_place_of_a_runs(run):
    record(run, status="finished")
    assert own_files(run) == {*NAMES, *FOREIGN, "run.json"} - {"run.log", "mine.txt"}


def test_a_record_of_another_program_makes_no_run(run):
    write_json(run / "run.json", {"task": "train", "status": "finished", "files": sorted(NAMES)})
    before = contents(run)
    assert foreign_entry(run)
    clear(run)
    set_aside(run)
    assert contents(run) == before


def test_links_are_not_followed(run, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    fill(elsewhere, "of the user", ["a/b.txt"])
    (run / "results/link").symlink_to(elsewhere / "a")
    record(run, status="finished", files=[*NAMES, "results/link", "results/link/b.txt", "../outside"])
    (run / "tensorboard").rename(elsewhere / "tensorboard")
    (run / "tensorboard").symlink_to(elsewhere / "tensorboard")
    clear(run)
    assert contents(elsewhere) == {"a/b.txt": "of the user", "tensorboard/events": "old"}
    assert not (run / "results/link").exists()


names = st.sampled_from(
    [*NAMES, *FOREIGN, "results/projections/best/mine.png", "results/test/x", "run.json.txt", "a b/c"]
)


@settings(max_examples=200, deadline=None)
@given(
    st.sets(names),
    st.lists(st.tuples(st.sampled_from(["fresh", "force", "kill", "end", "fail", "look", "clear"]), st.sets(names))),
)
def test_no_file_of_the_user_is_ever_touched(theirs, steps):
    """Trainings that begin, are forced, killed, end or fail, and analyses, in a directory with foreign files."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder)
        record(run, status="finished", files=[])
        fill(run, "of the user", theirs)

        def write(wanted: Iterable[str]) -> None:
            fill(run, "ours", [name for name in wanted if name not in theirs and name in NAMES])

        for kind, written in steps:
            if kind in ("clear", "look"):
                if kind == "clear":
                    clear(run)
                else:
                    with listing(run, "occlusion"):
                        write(written)
                continue
            restore(run)
            if kind == "force":
                set_aside(run)
            running = record(run, status="running", foreign=foreign_files(run))
            write(written)
            if kind in ("end", "force"):
                write_json(run / "run.json", ended(running | {"status": "finished"}, run))
                discard(run)
            elif kind == "fail":
                restore(run)
        found = contents(run)
        assert {name: found.get(name) for name in theirs} == dict.fromkeys(theirs, "of the user")
        assert all(text != "of the user" for name, text in found.items() if name not in theirs)


@pytest.mark.parametrize("foreign", [True, False])
def test_a_checkpoint_that_cannot_be_read_is_removed_only_if_it_is_the_runs(tmp_path, foreign):
    fill(tmp_path, "of somebody", ["checkpoints/best.ckpt"])
    record(tmp_path, status="running", foreign=["checkpoints/best.ckpt"] if foreign else [])
    reopen(tmp_path)
    assert (tmp_path / "checkpoints/best.ckpt").exists() is foreign


@pytest.mark.parametrize("text", ["", '{"parts": [', '{"parts": [], "checksum": "0"}'])
def test_a_study_with_a_damaged_record_can_be_continued(tmp_path, text):
    (tmp_path / "study.json").write_text(text)
    assert foreign_entry(tmp_path) == "study.json"  # of another program, as far as can be known
    (tmp_path / "zfnet").mkdir()
    record(tmp_path / "zfnet", status="finished", files=[])
    assert foreign_entry(tmp_path) == ""
