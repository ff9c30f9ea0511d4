import errno
import json
import logging
import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image

from convlens.data.cache import build as building
from convlens.data.cache.store import cache_images, cache_key
from convlens.data.decode import read_square
from convlens.data.splits import image_index as index_module
from convlens.data.splits.image_index import FileIndex
from convlens.errors import InputError

SIZE = 8
fork = multiprocessing.get_context("fork")


@pytest.fixture
def files(tmp_path, image_tree) -> FileIndex:
    paths = image_tree(tmp_path / "images", 23)
    return FileIndex("test", [path.name for path in paths], np.arange(23) % 3, tmp_path / "images")


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(building, "BLOCK", 4)


def decoded(image_index: FileIndex) -> np.ndarray:
    return np.stack([read_square(image_index.root / name, SIZE) for name in image_index.names])


def leftovers(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir() if path.suffix != ".lock")


def write_down_decoding(diary: Path, seconds: float = 0.0) -> None:
    """From now on, in this process, each image that is decoded is noted in a file."""

    def noted(path: Path, size: int, fit: str = "crop") -> np.ndarray:
        time.sleep(seconds)
        with open(diary, "a") as file:
            file.write(f"{path.name}\n")
        return read_square(path, size, fit)

    index_module.read_square = noted


@pytest.fixture
def diary(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(index_module, "read_square", read_square)  # put back at the end
    write_down_decoding(tmp_path / "diary.txt")
    return tmp_path / "diary.txt"


def test_the_cache_holds_the_decoded_images(files, tmp_path):
    cache = cache_images(files, SIZE, tmp_path / "cache")
    images = np.load(cache.pixels_path, mmap_mode="r")
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images, decoded(files))
    assert cache.unreadable == {}
    assert leftovers(tmp_path / "cache") == [f"test-{SIZE}-{cache_key(files, SIZE)}"]
    assert leftovers(cache.folder) == ["images.npy", "meta.json"]
    meta = json.loads((cache.folder / "meta.json").read_text())
    assert (meta["title"], meta["size"], meta["images"]) == ("test", SIZE, 23)


def test_no_image_is_decoded_twice(files, tmp_path, diary):
    first = cache_images(files, SIZE, tmp_path / "cache")
    assert sorted(diary.read_text().split()) == list(files.names)
    again = cache_images(files, SIZE, tmp_path / "cache")
    assert again.folder == first.folder
    assert len(diary.read_text().split()) == 23


def test_the_cache_moves_with_the_data_set(files, tmp_path, diary):
    cache_images(files, SIZE, tmp_path / "cache")
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    cache_images(replace(files, root=tmp_path / "elsewhere"), SIZE, tmp_path / "cache")
    assert len(diary.read_text().split()) == 23


def test_the_key_changes_with_all_that_the_pixels_depend_on(files):
    keys = [cache_key(files, SIZE), cache_key(files, SIZE + 1)]
    keys.append(cache_key(replace(files, labels=files.labels + 1), SIZE))
    keys.append(cache_key(files.take(np.arange(22)), SIZE))
    path = files.root / files.names[0]
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    keys.append(cache_key(files, SIZE))
    path.write_bytes(path.read_bytes() + b" ")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    keys.append(cache_key(files, SIZE))
    path.rename(files.root / "other.png")
    keys.append(cache_key(files, SIZE))
    assert len(set(keys)) == len(keys)


def test_the_key_changes_with_the_rule(files, monkeypatch):
    before = cache_key(files, SIZE)
    assert cache_key(files.with_resize_mode("crop"), SIZE) == before
    assert cache_key(files.with_resize_mode("squeeze"), SIZE) != before
    monkeypatch.setattr("convlens.data.decode.CROP_VERSION", "2: another way")
    assert cache_key(files, SIZE) != before


def test_the_key_of_the_cropped_images_is_what_it_was(tmp_path):
    # Computed before there was another way to fit: caches of users stay valid.
    image_index = FileIndex("x", ["a.png"], np.zeros(1, np.int64), tmp_path)
    assert cache_key(image_index, 16) == "6b53ced6de47ce66"


def build_and_say(barrier, queue, files, cache_dir, diary):
    write_down_decoding(diary, seconds=0.005)
    barrier.wait()
    cache = cache_images(files, SIZE, cache_dir)
    queue.put(np.load(cache.pixels_path).sum())


def test_two_processes_at_once_build_one_cache(files, tmp_path):
    barrier, queue = fork.Barrier(2), fork.Queue()
    arguments = (barrier, queue, files, tmp_path / "cache", tmp_path / "diary.txt")
    processes = [fork.Process(target=build_and_say, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    expected = decoded(files)
    assert [queue.get(timeout=60), queue.get(timeout=60)] == [expected.sum()] * 2
    for process in processes:
        process.join(timeout=60)
    assert sorted((tmp_path / "diary.txt").read_text().split()) == list(files.names)
    cache = cache_images(files, SIZE, tmp_path / "cache")
    np.testing.assert_array_equal(np.load(cache.pixels_path), expected)
    assert leftovers(tmp_path / "cache") == [cache.folder.name]


def build_slowly(files, cache):
    write_down_decoding(cache.parent / "killed.txt", seconds=0.03)
    cache_images(files, SIZE, cache)


def test_a_killed_build_goes_on_where_it_was(files, tmp_path, diary):
    (files.root / files.names[1]).write_bytes(b"")  # found before the kill, still known after it
    cache_dir = tmp_path / "cache"
    progress = cache_dir / f"test-{SIZE}-{cache_key(files, SIZE)}.partial" / "progress.json"
    process = fork.Process(target=build_slowly, args=(files, cache_dir))
    process.start()
    deadline = time.monotonic() + 60
    while not (progress.is_file() and json.loads(progress.read_text())["done"] >= 8):
        assert time.monotonic() < deadline
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    done = json.loads(progress.read_text())["done"]
    assert 8 <= done < 23
    cache = cache_images(files, SIZE, cache_dir)
    assert sorted(diary.read_text().split()) == list(files.names[done:])
    assert cache.unreadable == {1: "empty file"}
    images = np.load(cache.pixels_path)
    assert not images[1].any()
    good = np.delete(np.arange(23), 1)
    np.testing.assert_array_equal(images[good], decoded(files.take(good)))
    assert leftovers(cache_dir) == [cache.folder.name]
    assert leftovers(cache.folder) == ["images.npy", "meta.json"]


@pytest.mark.parametrize("torn", [b"", b'{"done": 8'])
def test_torn_notes_of_progress_start_the_build_anew(files, tmp_path, torn):
    partial = tmp_path / "cache" / f"test-{SIZE}-{cache_key(files, SIZE)}.partial"
    partial.mkdir(parents=True)
    (partial / "images.npy").write_bytes(b"rubbish" * 1000)
    (partial / "progress.json").write_bytes(torn)
    cache = cache_images(files, SIZE, tmp_path / "cache")
    np.testing.assert_array_equal(np.load(cache.pixels_path), decoded(files))


def test_an_interrupted_write_after_the_last_note_is_cut_off(files, tmp_path, monkeypatch):
    def stop(rows, size):
        if rows.start == 8:
            raise KeyboardInterrupt
        return FileIndex.read(files, rows, size)

    stopping = replace(files)
    object.__setattr__(stopping, "read", stop)
    with pytest.raises(KeyboardInterrupt):
        cache_images(stopping, SIZE, tmp_path / "cache")
    (partial,) = (tmp_path / "cache").glob("*.partial")
    with open(partial / "images.npy", "ab") as file:
        file.write(b"half a block")
    cache = cache_images(files, SIZE, tmp_path / "cache")
    np.testing.assert_array_equal(np.load(cache.pixels_path), decoded(files))


def test_unreadable_images_are_named_with_reasons(files, tmp_path):
    (files.root / files.names[2]).write_bytes(b"")
    (files.root / files.names[9]).write_text("no picture")
    whole = (files.root / files.names[22]).read_bytes()
    (files.root / files.names[22]).write_bytes(whole[: len(whole) // 2])
    cache = cache_images(files, SIZE, tmp_path / "cache")
    assert list(cache.unreadable) == [2, 9, 22]
    assert (cache.unreadable[2], cache.unreadable[9]) == ("empty file", "not an image")
    assert "truncated" in cache.unreadable[22]
    meta = json.loads((cache.folder / "meta.json").read_text())
    assert [entry["name"] for entry in meta["unreadable"]] == [files.names[i] for i in (2, 9, 22)]
    assert cache.readable(np.array([9, 3, 2, 1])).tolist() == [3, 1]


def test_mean_by_hand(tmp_path):
    for i, value in enumerate((0, 100, 255, 1)):
        Image.new("RGB", (4, 4), (value, 0, 255 - value)).save(tmp_path / f"{i}.png")
    files = FileIndex("test", [f"{i}.png" for i in range(4)], np.zeros(4, np.int64), tmp_path)
    mean = cache_images(files, 4, tmp_path / "cache").mean(np.array([2, 0, 3]))
    assert mean.dtype == torch.float32
    expected = torch.tensor([256 / 3, 0, 255 - 256 / 3]).view(3, 1, 1).expand(3, 4, 4)
    torch.testing.assert_close(mean, expected)


def test_the_mean_is_computed_once_for_each_set_of_rows(files, tmp_path, monkeypatch):
    monkeypatch.setattr("convlens.data.cache.store._ROWS_PER_CHUNK", 5)
    cache = cache_images(files, SIZE, tmp_path / "cache")
    rows = np.arange(0, 23, 2)
    mean = cache.mean(rows)
    np.testing.assert_allclose(mean, decoded(files)[rows].astype(np.float64).mean(axis=0), rtol=1e-6)
    monkeypatch.setattr(type(cache), "_compute_mean", None)  # whoever calls it again fails
    assert torch.equal(cache.mean(rows[::-1]), mean)
    monkeypatch.undo()
    assert not torch.equal(cache.mean(rows[1:]), mean)
    assert len(list(cache.folder.glob("mean-*.npy"))) == 2
    assert not list(cache.folder.glob("*.tmp"))


def test_a_mean_that_cannot_be_kept_is_still_given(files, tmp_path, monkeypatch, caplog):
    cache = cache_images(files, SIZE, tmp_path / "cache")

    def full(*_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(np, "save", full)
    expected = decoded(files).astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(cache.mean(np.arange(23)), expected, rtol=1e-6)
    assert "Read-only file system" in caplog.text
    assert leftovers(cache.folder) == ["images.npy", "meta.json"]


def test_a_disk_without_room_is_noticed_before_the_start(files, tmp_path, monkeypatch, diary):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10_000, 5_585, 4_415))
    with pytest.raises(InputError, match=r"4,416 bytes in .*cache, 4,415 are free.*cache_dir") as caught:
        cache_images(files, SIZE, tmp_path / "cache")  # 23 x 3 x 8 x 8
    assert "\n" not in str(caught.value)
    assert leftovers(tmp_path / "cache") == []
    assert not diary.exists()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_up_leaves_nothing_behind(files, tmp_path, monkeypatch, code):
    calls = []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) == 3:
            raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="no room for the decoded images of test: 23 squares of 8 px need 4,416 bytes"):
        cache_images(files, SIZE, tmp_path / "cache")
    assert leftovers(tmp_path / "cache") == []
    monkeypatch.undo()
    np.testing.assert_array_equal(np.load(cache_images(files, SIZE, tmp_path / "cache").pixels_path), decoded(files))


def test_a_disk_that_fills_up_while_notes_are_taken(files, tmp_path, monkeypatch):
    def full(path, _):
        raise InputError("full") from OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(building, "write_json", full)
    with pytest.raises(InputError, match="no room for the decoded images"):
        cache_images(files, SIZE, tmp_path / "cache")
    assert leftovers(tmp_path / "cache") == []


def test_a_cache_folder_that_is_a_file(files, tmp_path):
    (tmp_path / "cache").write_text("")
    with pytest.raises(InputError, match=r"cache folder .* cannot be used .*: set cache_dir to a folder"):
        cache_images(files, SIZE, tmp_path / "cache")


@pytest.mark.parametrize("damage", ["no meta", "torn meta", "no images", "other images", "flipped", "cut short"])
def test_a_damaged_cache_is_built_again(files, tmp_path, damage, caplog):
    cache = cache_images(files, SIZE, tmp_path / "cache")
    whole = np.load(cache.pixels_path)
    mean = cache.mean(np.arange(9))
    if damage == "no meta":
        (cache.folder / "meta.json").unlink()
    if damage == "torn meta":
        (cache.folder / "meta.json").write_text("{")
    if damage == "no images":
        cache.pixels_path.unlink()
    if damage == "other images":
        np.save(cache.pixels_path, np.zeros((2, 3, SIZE, SIZE), np.uint8))
    content = bytearray(cache.pixels_path.read_bytes()) if damage in ("flipped", "cut short") else b""
    if damage == "flipped":
        content[700] ^= 4
        cache.pixels_path.write_bytes(content)
    if damage == "cut short":
        cache.pixels_path.write_bytes(content[:700])
    again = cache_images(files, SIZE, tmp_path / "cache")
    assert "damaged" in caplog.text
    assert "built again" in caplog.text
    assert np.array_equal(np.load(again.pixels_path), whole)
    assert torch.equal(again.mean(np.arange(9)), mean)


def test_a_damaged_mean_image_is_computed_again(files, tmp_path, caplog):
    cache = cache_images(files, SIZE, tmp_path / "cache")
    mean = cache.mean(np.arange(9))
    (file,) = cache.folder.glob("mean-*.npy")
    file.write_bytes(file.read_bytes()[:-30])
    assert torch.equal(cache.mean(np.arange(9)), mean)
    assert "computed again" in caplog.text


@pytest.mark.parametrize("flipped", [None, 150, 300])
def test_an_unfinished_cache_goes_on_only_if_it_is_whole(files, tmp_path, monkeypatch, caplog, flipped):
    read = FileIndex.read
    monkeypatch.setattr(FileIndex, "read", lambda self, rows, size: 1 / 0 if 8 in rows else read(self, rows, size))
    with pytest.raises(ZeroDivisionError):
        cache_images(files, SIZE, tmp_path / "cache")
    monkeypatch.undo()
    (partial,) = (tmp_path / "cache").glob("*.partial")
    if flipped is not None:
        content = bytearray((partial / "images.npy").read_bytes())
        content[flipped] ^= 1
        (partial / "images.npy").write_bytes(content)
    cache = cache_images(files, SIZE, tmp_path / "cache")
    assert ("begun again" in caplog.text) == (flipped is not None)
    assert np.array_equal(np.load(cache.pixels_path), files.read(range(23), SIZE).images)


def test_waiting_for_another_build_is_said(files, tmp_path, caplog, diary):
    folder = tmp_path / "cache" / f"test-{SIZE}-{cache_key(files, SIZE)}"
    folder.parent.mkdir()
    locked, while_locked = threading.Event(), []

    def another_build():
        with FileLock(f"{folder}.lock"):
            locked.set()
            time.sleep(0.3)
            while_locked.append(diary.exists())

    thread = threading.Thread(target=another_build)
    thread.start()
    locked.wait()
    with caplog.at_level(logging.INFO):
        cache_images(files, SIZE, tmp_path / "cache")
    thread.join()
    assert f"another process is building {folder}: waiting for it" in caplog.text
    assert while_locked == [False]
    assert len(diary.read_text().split()) == 23


def test_a_finished_cache_needs_no_lock(files, tmp_path):
    folder = cache_images(files, SIZE, tmp_path / "cache").folder
    with FileLock(f"{folder}.lock"):
        assert cache_images(files, SIZE, tmp_path / "cache").folder == folder
