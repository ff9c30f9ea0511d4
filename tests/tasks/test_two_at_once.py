"""Two commands at once on one run: the second of the same part is refused and harms nothing, others go on.

| first              | second, same part                  | another part                          |
|--------------------|------------------------------------|---------------------------------------|
| train              | refused                            | analyses of the best epoch so far run |
| train, force=true  | refused                            | refused while an analysis works       |
| project, occlude … | refused                            | run side by side                      |
| report             | refused                            | runs                                  |
| collect            | refused; a sweep's own table waits | runs                                  |
| transfer           | runs; shared files wait            | runs; train, force=true is refused    |
"""

import json
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock
from omegaconf import OmegaConf

from convlens.errors import BusyError
from convlens.io.locks import check_parts
from convlens.runs.run_directory import open_run

PARTS = {
    "projections": ("task=project", "run=run"),
    "occlusion": ("task=occlude", "run=run"),
    "invariance": ("task=invariance", "run=run"),
    "correspondence": ("task=correspond", "run=run"),
    "filters": ("task=diagnose", "run=run"),
    "duplicates": ("task=duplicates", "run=run"),
    "report": ("task=report", "run=run"),
}
"""The analyses of a run by the part of its directory that they lock."""


@contextmanager
def worked_on(folder: Path, part: str = "") -> Iterator[None]:
    """Hold a lock as another process does."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / (f".lock-{part}" if part else ".lock")
    with FileLock(path):
        holder = {"pid": os.getppid(), "host": socket.gethostname(), "since": "2026-01-01 10:00:00"}
        Path(f"{path}.holder").write_text(json.dumps(holder))
        yield
    Path(f"{path}.holder").unlink()


@pytest.fixture
def run(trained, tmp_path) -> Path:
    shutil.copytree(trained, tmp_path / "run")
    return tmp_path / "run"


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and ".lock" not in path.name}


def is_busy(line: str, where: str) -> bool:
    return line.startswith(f"another process (pid {os.getppid()}, host ") and line.endswith(f"{where}: wait for it")


@pytest.mark.parametrize("part", PARTS)
def test_the_same_analysis_is_refused_and_harms_nothing(part, run, refused):
    before = files(run)
    with worked_on(run, part):
        assert is_busy(refused(*PARTS[part]), f"works on {part} in run")
    assert files(run) == before


def test_other_analyses_and_the_training_do_not_stand_in_the_way(run, convlens):
    with worked_on(run), worked_on(run, "projections"), worked_on(run, "occlusion"), worked_on(run, "report"):
        outcome = convlens("task=diagnose", "run=run", "task.images=4")
    assert outcome.code == 0, outcome
    assert (run / "results/filters/result.json").exists()


@pytest.mark.parametrize(
    ("name", "command", "folder", "part"),
    [
        ("a training", ("run_dir=new",), "new", ""),
        ("a study", ("task=study", "run_dir=new"), "new", "study"),
        ("a table", ("task=collect", "sweep=."), "results/collect", ""),
        ("shards", ("task=write_shards", "task.output=new", "run_dir=other"), "new", ""),
        ("a report of several", ("task=report", "task.run_dirs=[run]", "run_dir=new"), "new", "report"),
    ],
)
def test_whatever_writes_holds_a_lock(name, command, folder, part, run, tmp_path, refused, small):
    before = files(run)
    with worked_on(tmp_path / folder, part):
        where = f"works on {part} in {folder}" if part else f"works in {folder}"
        assert is_busy(refused(*command, *small), where)
    assert files(run) == before


def test_a_run_is_not_replaced_while_an_analysis_works_on_it(run, refused, small):
    before = files(run)
    with worked_on(run, "occlusion"):
        line = refused(*small, "run_dir=run", "job_name=tiny zfnet", "force=true")
        assert is_busy(line, "works on occlusion in run")
    assert files(run) == before


def test_a_run_is_not_replaced_while_a_transfer_works_on_it(run):
    cfg = OmegaConf.create({"run": str(run), "run_dir": str(run)})
    with worked_on(run, "transfer-another-1"), open_run(cfg, [], "transfer", shared=True):
        pass
    with (
        open_run(cfg, [], "transfer", shared=True),
        pytest.raises(BusyError, match=r"works on transfer-.* in .*run: wait for it"),
    ):
        check_parts(run)
    check_parts(run)
    assert not list(run.glob(".lock*"))
