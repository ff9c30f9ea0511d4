import multiprocessing
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from convlens.data import ImageData, PartsImages
from convlens.data.cache import build as building
from convlens.data.cache.store import cache_images
from convlens.data.synthetic.dataset import CLASS_NAMES, render_images
from convlens.errors import InputError


def test_the_cache_holds_the_rendered_images(tmp_path):
    data = ImageData(PartsImages(seed=5, train=20, test=10), image_size=28, cache_dir=tmp_path)
    assert data.class_names == tuple(CLASS_NAMES)
    for split in ("train", "val", "test"):
        dataset = data.dataset(split)
        indices = [int(data.image_id(split, i).removeprefix("parts/")) for i in range(len(dataset))]
        images, labels = render_images(indices, seed=5, size=32)
        assert torch.equal(dataset.read_pixels(range(len(dataset))), images)
        assert torch.equal(dataset.labels, labels)


def test_training_and_test_images_are_different_whatever_their_numbers():
    splits = [PartsImages(train=train, test=50).split for train in (20, 3000)]
    names = [[set(split(name).image_index.names) for name in ("train", "test")] for split in splits]
    assert names[0][1] == names[1][1]
    assert names[1][0].isdisjoint(names[1][1])
    assert names[0][0] < names[1][0]


def test_every_class_has_as_many_images():
    labels = PartsImages(train=40 * len(CLASS_NAMES), test=10).split("train").image_index.labels
    counts = np.bincount(labels, minlength=len(CLASS_NAMES))
    assert counts.min() >= 20


def test_the_seed_of_the_images_makes_another_cache(tmp_path):
    for seed in (0, 1):
        ImageData(PartsImages(seed=seed, train=12, test=2), image_size=14, cache_dir=tmp_path, val_share=0.0).setup()
    assert len(list(tmp_path.glob("*/images.npy"))) == 4


@pytest.mark.parametrize("numbers", [{"train": 3}, {"train": 2_000_000}, {"test": 0}])
def test_numbers_that_cannot_be_are_refused(numbers):
    with pytest.raises(InputError, match=r"data\.source\.train=\d+, data\.source\.test=\d+: give train from 12"):
        PartsImages(**numbers)


RANGES = [range(start, min(start + 3, 29)) for start in range(0, 29, 3)]
linux = pytest.mark.skipif(sys.platform != "linux", reason="images are drawn in one process elsewhere")


@pytest.fixture
def three_cores(monkeypatch):
    monkeypatch.setattr("convlens.data.sources.synthetic_parts.num_cores", lambda: 3)


@linux
def test_blocks_drawn_in_processes_are_those_drawn_one_by_one(three_cores):
    image_index = PartsImages(seed=2, train=29, test=1).split("train").image_index
    found, helpers = [], 0
    for block in image_index.blocks(RANGES, 16):
        helpers = max(helpers, len(multiprocessing.active_children()))
        found.append(block)
    assert helpers == 3
    assert not multiprocessing.active_children()
    expected = [image_index.read(rows, 16) for rows in RANGES]
    assert [block.unreadable for block in found] == [{}] * len(RANGES)
    assert all(np.array_equal(a.images, b.images) for a, b in zip(found, expected, strict=True))


def test_one_core_draws_the_same_blocks_without_a_second_process(monkeypatch):
    monkeypatch.setattr("convlens.data.sources.synthetic_parts.num_cores", lambda: 1)
    image_index = PartsImages(seed=2, train=29, test=1).split("train").image_index
    blocks = image_index.blocks(RANGES, 16)
    np.testing.assert_array_equal(next(blocks).images, image_index.read(RANGES[0], 16).images)
    assert not multiprocessing.active_children()


@linux
def test_who_stops_asking_for_blocks_leaves_no_process_behind(three_cores):
    blocks = PartsImages(train=29, test=1).split("train").image_index.blocks(RANGES, 16)
    next(blocks)
    assert multiprocessing.active_children()
    blocks.close()
    assert not multiprocessing.active_children()


@linux
def test_a_killed_drawing_process_is_said_and_not_waited_for(three_cores):
    blocks = PartsImages(train=29, test=1).split("train").image_index.blocks(RANGES, 16)
    next(blocks)
    for process in multiprocessing.active_children():
        process.kill()
    with pytest.raises(InputError, match=r"a process that renders the images of parts was killed.*start again"):
        list(blocks)
    assert not multiprocessing.active_children()


@linux
def test_an_interrupted_drawing_goes_on_where_it_was(three_cores, tmp_path, monkeypatch):
    monkeypatch.setattr(building, "BLOCK", 3)
    image_index = PartsImages(seed=4, train=29, test=1).split("train").image_index
    write_json = building.write_json

    def interrupted(path, value):
        write_json(path, value)
        if value.get("done") == 12:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(building, "write_json", interrupted)
        with pytest.raises(KeyboardInterrupt):
            cache_images(image_index, 16, tmp_path)
    assert not multiprocessing.active_children()
    asked, blocks = [], type(image_index).blocks

    def noted(self, ranges, size):
        asked.extend(ranges)
        return blocks(self, ranges, size)

    monkeypatch.setattr(type(image_index), "blocks", noted)
    cache = cache_images(image_index, 16, tmp_path)
    assert [rows.start for rows in asked] == list(range(12, 29, 3))
    np.testing.assert_array_equal(np.load(cache.pixels_path), image_index.read(range(29), 16).images)


def _draw_forever(image_index, queue):
    blocks = image_index.blocks(RANGES, 16)
    next(blocks)
    queue.put([process.pid for process in multiprocessing.active_children()])
    time.sleep(600)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@linux
def test_the_drawing_processes_end_with_a_killed_parent(three_cores):
    fork = multiprocessing.get_context("fork")
    queue = fork.Queue()
    parent = fork.Process(target=_draw_forever, args=(PartsImages(train=29, test=1).split("train").image_index, queue))
    parent.start()
    pids = queue.get(timeout=60)
    assert len(pids) == 3
    assert all(map(_runs, pids))
    parent.kill()
    parent.join()
    deadline = time.monotonic() + 20
    while any(map(_runs, pids)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
