"""Locks between processes."""

import logging
import os
import threading
import time

import pytest
from filelock import FileLock

from convlens.errors import BusyError
from convlens.io.locks import directory_lock, file_lock


def test_a_directory_admits_one_process_and_leaves_nothing(tmp_path):
    folder = tmp_path / "run"
    with directory_lock(folder):
        said = rf"another process \(pid {os.getpid()}, host .+, since 20.+\) works in {folder}: wait for it"
        with pytest.raises(BusyError, match=said), directory_lock(folder):
            pytest.fail("two at once")
        assert (folder / ".lock").exists()
    assert not folder.exists()
    folder.mkdir()
    with directory_lock(folder):  # again
        pass
    assert list(folder.iterdir()) == []


def test_folders_that_were_made_for_the_lock_go_with_it(tmp_path):
    (tmp_path / "a").mkdir()
    with directory_lock(tmp_path / "a/b/c"):
        pass
    assert list((tmp_path / "a").iterdir()) == []
    with directory_lock(tmp_path / "a/b/c"):
        (tmp_path / "a/b/c/result").touch()
    assert [path.name for path in (tmp_path / "a").rglob("*")] == ["b", "c", "result"]


def test_an_exception_frees_the_directory(tmp_path):
    with pytest.raises(ValueError, match="inside"), directory_lock(tmp_path):
        raise ValueError("inside")
    with directory_lock(tmp_path):
        pass


def test_other_ranks_of_the_same_job_enter(tmp_path, monkeypatch):
    with directory_lock(tmp_path):
        for name, value in (("RANK", "1"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "127.0.0.1")):
            monkeypatch.setenv(name, value)
        with directory_lock(tmp_path):
            pass
        assert (tmp_path / ".lock").exists()


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_waiting_ends_when_the_other_leaves(tmp_path, caplog, kind):
    order, held = [], threading.Event()

    def other() -> None:
        with FileLock(tmp_path / ".lock"):
            held.set()
            time.sleep(0.2)
            order.append("other")

    thread = threading.Thread(target=other)
    thread.start()
    held.wait()
    waiting = directory_lock(tmp_path, wait=True) if kind == "directory" else file_lock(tmp_path / ".lock", "busy")
    with caplog.at_level(logging.INFO), waiting:
        order.append("this")
    thread.join()
    assert order == ["other", "this"]
    what = f"working in {tmp_path}" if kind == "directory" else "busy"
    assert f"another process is {what}: waiting for it" in caplog.text
