"""An earlier run is kept until the new one has made a step, wherever the process is killed."""

import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convlens.errors import InputError
from convlens.io.atomic import replacing, write_bytes
from convlens.io.claims import remove_own
from convlens.io.json_files import write_json
from convlens.io.memory_maps import create_memory_map
from convlens.runs.file_list import FileList, listing
from convlens.runs.mended_checkpoints import mend_checkpoints
from convlens.runs.record_file import read_record
from convlens.runs.replacement import (
    clear,
    discard,
    foreign_entry,
    foreign_files,
    is_run,
    own_files,
    restore,
    set_aside,
)
from convlens.runs.run_log import HEADER


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
    *("results/test/predictions.npz", "results/projections/best/conv1.png", "wandb/id.txt"),
)
"""What a run may write."""
LOGGERS = (
    "tensorboard/events.out.tfevents.1.host.2.0",
    "wandb/offline-run-20260101_101112-of/files/wandb-summary.json",
)
"""What loggers write without our help; ``of`` is the id in ``wandb/id.txt``."""
FOREIGN = ("run.log", "mine.txt", "results/notes.txt", "checkpoints/best (copy).ckpt", "wandb/run/files/mine")
"""What a user may put into the same directory."""


def contents(folder: Path) -> dict[str, str]:
    paths = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".lock")]
    return {str(path.relative_to(folder)): path.read_text() for path in paths}


def fill(folder: Path, text: str, names: Iterable[str] = NAMES) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def write(folder: Path, text: str, names: Iterable[str] = NAMES) -> None:
    """Write files as a job does, which adds them to the run's list."""
    files = FileList(folder)
    for name in names:
        files.claim(folder / name)
    fill(folder, text, names)


def begin(folder: Path) -> None:
    """Write the record of a run that begins."""
    foreign = foreign_files(folder)
    record(folder, status="running", foreign=foreign, files=sorted(own_files(folder)))


def end(folder: Path) -> None:
    """Write the record of a run that has ended."""
    record(folder, status="finished", files=FileList(folder).listed())


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
        begin(run)
    write(run, "new", new)
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
    begin(run)
    write(run, "new")
    new = {name: text for name, text in contents(run).items() if not name.startswith(".replaced")}
    assert killed_after(1, lambda: discard(run))  # between the renaming and the removal
    assert not restore(run)
    assert contents(run) == new
    discard(run)
    assert not restore(run)
    assert contents(run) == new


def test_a_record_lists_what_was_written_and_not_what_was_there_or_came_meanwhile(tmp_path):
    fill(tmp_path, "of the user", ["results/notes.txt"])
    begin(tmp_path)
    meanwhile = [*FOREIGN, "results/test/mine.npz", "checkpoints/epoch_7.ckpt", "wandb/notes.txt", "tensorboard/a"]
    fill(tmp_path, "of the user", [*meanwhile, "wandb/offline-run-20260101_101112-of/files/mine.txt.gz"])
    fill(tmp_path, "of the user", ["wandb/offline-run-20260101_101112-another/files/wandb-summary.json"])
    write(tmp_path, "of", NAMES)
    fill(tmp_path, "of a logger", LOGGERS)
    assert own_files(tmp_path) == {*NAMES, *LOGGERS, "run.json", ".run.json"}  # if it were killed now
    end(tmp_path)
    assert set(read_record(tmp_path)["files"]) == {*NAMES, *LOGGERS, "run.json", ".run.json"}
    with listing(tmp_path):
        write(tmp_path, "new", ["results/occlusion/a.png"])
        fill(tmp_path, "of the user", ["results/occlusion/b.png", "results/figures/a.pdf", "checkpoints/copy.ckpt"])
    assert own_files(tmp_path) == {*NAMES, *LOGGERS, "run.json", ".run.json", "results/occlusion/a.png"}


def test_a_file_that_came_meanwhile_is_not_overwritten(tmp_path):
    begin(tmp_path)
    with listing(tmp_path):
        fill(tmp_path, "of the user", ["results/test/predictions.npz", "results/occlusion/a.npy"])
        with pytest.raises(InputError, match="would be overwritten and was not written by convlens"):
            write_bytes(tmp_path / "results/test/predictions.npz", b"ours")
        with pytest.raises(InputError, match="would be overwritten and was not written by convlens"):
            create_memory_map(tmp_path / "results/occlusion/a.npy", np.uint8, (3,))
        remove_own(tmp_path / "results/test/predictions.npz")
    assert contents(tmp_path)["results/test/predictions.npz"] == "of the user"
    assert contents(tmp_path)["results/occlusion/a.npy"] == "of the user"


def test_jobs_that_share_a_directory_lose_no_name_of_each_others_files(tmp_path):
    begin(tmp_path)
    name = "results/transfer_caltech-101/classes.png"
    figure = tmp_path / name

    def listed() -> bool:
        return name in read_record(tmp_path)["files"]

    write(tmp_path, "of", [name])
    with listing(tmp_path, shared=True):
        with listing(tmp_path, shared=True):  # a second job, which sees the first one's figure
            assert FileList(tmp_path, shared=True).owns(figure)
            remove_own(figure)
            assert not listed()
            fill(tmp_path, "of the user", [name])
            with pytest.raises(InputError, match="would be overwritten"):
                write_bytes(figure, b"ours")
            figure.unlink()
            other = FileList(tmp_path, shared=True)
            other.claim(figure)  # a third one, which is about to write it
        assert listed()
    assert listed()
    fill(tmp_path, "ours", [name])
    assert name in own_files(tmp_path)


def test_the_list_of_a_run_that_is_killed_names_what_it_has_written(tmp_path):
    begin(tmp_path)
    for name in NAMES:
        FileList(tmp_path).claim(tmp_path / name)
        assert name in read_record(tmp_path)["files"]  # before the file is there
        fill(tmp_path, "ours", [name])
    assert own_files(tmp_path) == {*NAMES, "run.json", ".run.json"}


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
    (run / "wandb").rename(elsewhere / "wandb")
    (run / "wandb").symlink_to(elsewhere / "wandb")
    clear(run)
    theirs = {"a/b.txt": "of the user", "wandb/run/files/mine": "of the user"}
    assert contents(elsewhere) == theirs | {"wandb/id.txt": "old"}
    assert not (run / "results/link").exists()


names = st.sampled_from(
    [*NAMES, *FOREIGN, "results/projections/best/mine.png", "results/test/x", "run.json.txt", "a b/c"]
)


@settings(max_examples=40, deadline=None)
@given(
    st.sets(names),
    st.lists(st.tuples(st.sampled_from(["fresh", "force", "kill", "end", "fail", "look", "clear"]), st.sets(names))),
)
def test_no_file_of_the_user_is_ever_touched(theirs, steps):
    """Trainings that begin, are forced, killed, end or fail, and analyses, in a directory with foreign files."""
    with tempfile.TemporaryDirectory() as folder, patch("convlens.io.atomic._sync"):
        run = Path(folder)
        record(run, status="finished", files=[])
        fill(run, "of the user", theirs)

        def ours(wanted: Iterable[str]) -> list[str]:
            return [name for name in wanted if name not in theirs and name in NAMES]

        for kind, written in steps:
            if kind in ("clear", "look"):
                if kind == "clear":
                    clear(run)
                    record(run, status="finished", files=[])
                else:
                    with listing(run):
                        write(run, "ours", ours(written))
                continue
            restore(run)
            if kind == "force":
                set_aside(run)
            begin(run)
            write(run, "ours", ours(written))
            if kind in ("end", "force"):
                end(run)
                discard(run)
            elif kind == "fail":
                restore(run)
        found = contents(run)
        assert {name: found.get(name) for name in theirs} == dict.fromkeys(theirs, "of the user")
        assert all(text != "of the user" for name, text in found.items() if name not in theirs)


def save(path: Path, **states: object) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": {}, **states}, path)
    return path.read_bytes()


@pytest.mark.parametrize("best", [True, False])
def test_a_damaged_last_checkpoint_is_replaced_by_the_best_or_the_newest_whole_snapshot(tmp_path, best):
    folder = tmp_path / "checkpoints"
    whole = {number: save(folder / f"epoch_00{number}.ckpt", optimizer_states=[], at=number) for number in (1, 2)}
    save(folder / "epoch_003.ckpt", at=3)  # weights alone
    (folder / "epoch_004.ckpt").write_bytes(whole[2][:200])
    if best:
        whole[2] = save(folder / "best.ckpt", optimizer_states=[], at="best")
    (folder / "last.ckpt").write_bytes(whole[1][:100])
    mend_checkpoints(tmp_path)
    assert (folder / "last.ckpt").read_bytes() == whole[2]
    assert (folder / "last.ckpt.aside").read_bytes() == whole[1][:100]


def test_a_whole_checkpoint_is_kept_where_the_training_starts_again(tmp_path):
    last = save(tmp_path / "checkpoints/last.ckpt", optimizer_states=[])
    (tmp_path / "checkpoints/best.ckpt").write_bytes(b"")
    mend_checkpoints(tmp_path)
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"last.ckpt.aside", "best.ckpt.aside"}
    assert (tmp_path / "checkpoints/last.ckpt.aside").read_bytes() == last


CONFIG = "task: {_target_: convlens.tasks.train.run}\n" + "".join(
    f"{key}: {{}}\n" for key in ("model", "data", "recipe", "run_dir", "cache_dir")
)


def test_a_run_whose_record_and_copy_are_damaged_is_known_by_its_configuration(tmp_path):
    fill(tmp_path, "", ["run.json", ".run.json"])
    fill(tmp_path, "ours", ["checkpoints/last.ckpt", "results/test/predictions.npz"])
    fill(tmp_path, "of the user", FOREIGN)
    fill(tmp_path, "mine: 1", ["config.yaml"])
    assert not is_run(tmp_path)
    (tmp_path / "config.yaml").write_text(CONFIG)
    assert is_run(tmp_path)
    assert read_record(tmp_path)["status"] == "failed"
    clear(tmp_path)
    assert set(contents(tmp_path)) == set(FOREIGN)


def test_a_run_that_was_killed_between_its_record_and_the_copy_is_known(tmp_path):
    record(tmp_path, status="running", foreign=[], files=[])
    (tmp_path / "run.json").rename(tmp_path / ".run.json")
    assert foreign_entry(tmp_path) == ""


@pytest.mark.parametrize("name", ["run.log", "traceback.txt", "report.html"])
def test_files_that_commands_write_without_a_record_are_known_by_their_content(tmp_path, name):
    fill(tmp_path, "of the user", [name])
    assert foreign_entry(tmp_path) == name
    texts = {"run.log": HEADER, "report.html": '<meta name="generator" content="convlens">'}
    fill(tmp_path, texts.get(name, "Traceback in convlens/runs"), [name])
    assert foreign_entry(tmp_path) == ""


@pytest.mark.parametrize("text", ["", '{"parts": [', '{"parts": [], "checksum": "0"}'])
def test_a_study_with_a_damaged_record_can_be_continued(tmp_path, text):
    (tmp_path / "study.json").write_text(text)
    assert foreign_entry(tmp_path) == "study.json"  # of another program, as far as can be known
    (tmp_path / "zfnet").mkdir()
    record(tmp_path / "zfnet", status="finished", files=[])
    assert foreign_entry(tmp_path) == ""


@pytest.mark.parametrize("name", ["run.json", ".run.json", "config.yaml", "report.html", "traceback.txt"])
def test_what_another_job_is_about_to_write_first_is_nobody_elses(tmp_path, name):
    """Jobs that share a new directory begin at the same time, and one may be killed then."""
    with replacing(tmp_path / name) as partial:
        partial.write_text("{")
        assert foreign_entry(tmp_path) == ""
        other = tmp_path / partial.name.replace(name, "mine")
        other.touch()
        assert foreign_entry(tmp_path) == other.name
