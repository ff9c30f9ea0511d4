import logging
import os
import shutil
import socket
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from PIL import Image

from convlens.data import ImageData, ImageFolder, ShardedData
from convlens.data.shards.reader import resume_loader
from convlens.data.shards.writer import write_shards
from convlens.data.splits.split import Split
from convlens.errors import InputError
from convlens.io.json_files import load_json, write_json

SIZE, COUNT = 16, 150
pytest.importorskip("litdata")


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> ImageData:
    """Images of three classes, one of which cannot be read."""
    root = tmp_path_factory.mktemp("shards")
    rng = np.random.default_rng(0)
    for split, count in (("train", COUNT), ("test", 25)):
        for number in range(count):
            folder = root / "images" / split / f"class{number % 3}"
            folder.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"{number:03d}.png")
    (root / "images" / "test" / "class0" / "000.png").write_bytes(b"no image")
    source = ImageFolder(root / "images")
    return ImageData(source, cache_dir=root / "cache", image_size=14, stored_size=SIZE, val_share=0.2, batch_size=20)


@pytest.fixture(scope="module")
def packed(images, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("packed") / "shards"
    lost = write_shards(images.splits(), images.class_names, folder, size=SIZE, shard_bytes="32KB", workers=2)
    assert lost == {"train": 0, "val": 0, "test": 1}
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_nothing_in_the_temporary_directory_is_touched(images, tmp_path, monkeypatch):
    """litdata empties ``data`` and ``chunks`` there if it is left to itself."""
    for name in ("data/mine.txt", "chunks/mine.bin", "data/train/a.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("of the user")
    before = contents(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.delenv("DATA_OPTIMIZER_CACHE_FOLDER", raising=False)
    out = tmp_path / "out"
    splits = {"train": images.splits()["test"]}
    write_shards(splits, images.class_names, out, size=SIZE, shard_bytes="32KB", workers=1)
    assert {name: text for name, text in contents(tmp_path).items() if not name.startswith("out/")} == before
    assert "DATA_OPTIMIZER_CACHE_FOLDER" not in os.environ
    assert not [path.name for path in out.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("theirs", ["mine.bin", "index.json", "photos/a.png"])
def test_files_of_the_user_in_the_output_are_refused_and_kept(images, tmp_path, theirs):
    (tmp_path / "test" / theirs).parent.mkdir(parents=True)
    (tmp_path / "test" / theirs).write_text("of the user")
    (tmp_path / ".work").mkdir()
    (tmp_path / ".work/thesis.tex").write_text("of the user")
    before = contents(tmp_path)
    with pytest.raises(InputError, match="holds other files: remove it, or choose another folder"):
        write_shards(images.splits(), images.class_names, tmp_path, size=SIZE, shard_bytes="32KB", workers=1)
    assert contents(tmp_path) == before


def test_hidden_folders_and_links_of_the_user_are_kept_where_shards_are_written(images, tmp_path):
    out, home = tmp_path / "out", tmp_path / "home"
    for name in ("data/a.txt", "chunks/b.bin", "of_convlens"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text("of the user")
    (out / ".work-mine").mkdir(parents=True)
    (out / ".work-mine/thesis.tex").write_text("of the user")
    (out / ".work").symlink_to(home)
    (out / ".work-link").symlink_to(home)
    (out / ".work-killed/train").mkdir(parents=True)
    (out / ".work-killed/of_convlens").touch()
    before = contents(home)
    splits = {"train": images.splits()["test"]}
    write_shards(splits, images.class_names, out, size=SIZE, shard_bytes="32KB", workers=1)
    assert contents(home) == before
    assert {path.name for path in out.iterdir() if path.name.startswith(".")} == {".work", ".work-link", ".work-mine"}
    assert (out / ".work-mine/thesis.tex").read_text() == "of the user"


def test_metadata_that_are_not_ours_are_refused_and_kept(images, tmp_path):
    (tmp_path / "about.json").write_text('{"my": 1}')
    with pytest.raises(InputError, match=r"about\.json was not written by convlens: move it, or choose another folder"):
        write_shards(images.splits(), images.class_names, tmp_path, size=SIZE, shard_bytes="32KB", workers=1)
    assert contents(tmp_path) == {"about.json": b'{"my": 1}'}


def test_writing_that_was_killed_is_done_again(images, packed, tmp_path):
    own = {"size": SIZE, "shard_bytes": "32KB", "workers": 2}
    with (
        patch("convlens.data.shards.writer._write_split", side_effect=KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        write_shards(images.splits(), images.class_names, tmp_path, **own)
    assert not list(tmp_path.iterdir())
    (tmp_path / "train").mkdir()  # as version 0.1 left it
    (tmp_path / "train/chunk-0-0.bin").write_bytes(b"half")
    write_json(tmp_path / "train/done.json", {"of": load_json(packed / "train/done.json")["of"]})
    assert write_shards(images.splits(), images.class_names, tmp_path, **own)["test"] == 1
    assert contents(tmp_path / "train").keys() == contents(packed / "train").keys()


def trainer(**state: object):
    given = {"world_size": 1, "global_rank": 0, "accumulate_grad_batches": 1, "current_epoch": 0}
    return type("Trainer", (), {"training": False, "testing": False, **given, **state})()


def shards(packed: Path, **settings) -> ShardedData:
    return ShardedData(str(packed), image_size=14, batch_size=20, **settings)


def test_the_shards_hold_every_image_once_with_its_label(packed, images):
    data = shards(packed)
    assert data.class_names == images.class_names
    assert [data.count(split) for split in ("train", "val", "test")] == [120, 30, 24]
    assert len(list((packed / "train").glob("*.bin"))) > 2
    for split in ("train", "val"):
        stored = images.dataset(split)
        seen = {}
        for batch, labels, indices in data.eval_dataloader(split):
            for image, label, index in zip(batch, labels.tolist(), indices.tolist(), strict=True):
                seen[index] = (image, label)
        assert sorted(seen) == list(range(len(stored)))
        for index, (image, label) in seen.items():
            assert torch.equal(image, stored.read_pixels([index])[0])
            assert label == int(stored.labels[index])


def test_crops_on_the_device_are_those_that_workers_make(packed, images):
    """The same draws, mean and views as ImageData's, to float32's rounding."""
    data = shards(packed, mean="train", std=2.0, test_views=10)
    assert data.stored_mean.numpy() == pytest.approx(images.stored_mean.numpy(), abs=1e-3)
    batch = next(iter(data.test_dataloader()))
    data.trainer = trainer(testing=True)
    ten, labels, _ = data.on_after_batch_transfer(batch, 0)
    own = ImageData(images.source, cache_dir=images.cache_dir, image_size=14, stored_size=SIZE, val_share=0.2, std=2.0)
    expected = torch.stack([own.dataset("test", "ten")[i][0] for i in range(len(ten))])
    assert ten.numpy() == pytest.approx(expected.numpy(), abs=1e-3)
    data.trainer = trainer(training=True, current_epoch=3)
    crops = data.on_after_batch_transfer(batch, 0)[0]
    assert crops.shape == (len(labels), 3, 14, 14)
    assert not torch.equal(crops, ten[:, 4])
    again = data.on_after_batch_transfer(batch, 0)[0]
    assert torch.equal(crops, again)
    data.trainer = trainer()
    assert data.on_after_batch_transfer(batch, 0)[0].numpy() == pytest.approx(ten[:, 4].numpy())


def test_crops_elsewhere_than_on_the_processor_are_the_same(packed):
    """By indices, as on a GPU; the meta device only tells shapes, so the processor is passed off as another."""
    data = shards(packed, std=3.0)
    images = torch.randint(0, 256, (5, 3, SIZE, SIZE), dtype=torch.uint8)
    tops, lefts, flips = (
        torch.tensor([0, 1, 2, 0, 1]),
        torch.tensor([2, 1, 0, 0, 2]),
        torch.tensor([0, 1, 0, 1, 1]) == 1,
    )
    found = data.crop_by_index(images, tops, lefts, flips)
    assert torch.allclose(found, data.crop(images, tops, lefts, flips), atol=1e-4)


def test_an_epoch_is_shuffled_by_shards_and_goes_on_where_it_stopped(packed):
    def order(loader) -> list[int]:
        return [int(index) for _, _, indices in loader for index in indices]

    data = shards(packed, seed=1)
    whole = data.train_dataloader()
    first, second = order(whole), order(whole)
    assert sorted(first) == sorted(second) == list(range(120))
    assert first != second != sorted(second)
    continued = data.train_dataloader()
    for epoch, expected in ((0, first), (1, second)):
        resume_loader(continued, epoch, 2)
        assert expected[:40] + order(continued) == expected
        resume_loader(continued, epoch, 0)
        assert order(continued) == expected


def test_what_cannot_be_read_is_refused(packed, tmp_path):
    with pytest.raises(InputError, match="holds no shards"):
        shards(tmp_path).class_names  # noqa: B018
    broken = tmp_path / "broken"
    shutil.copytree(packed, broken)
    gone = next((broken / "train").glob("*.bin"))
    gone.unlink()
    with pytest.raises(InputError, match=rf"lacks 1 of \d+ files, such as {gone.name}: write them again"):
        shards(broken).class_names  # noqa: B018
    shutil.copy(packed / "train" / gone.name, gone)
    (broken / "val" / "index.json").rename(broken / "val" / "other.json")
    with pytest.raises(InputError, match=r"val lacks 1 of \d+ files, such as index.json"):
        shards(broken).class_names  # noqa: B018
    (broken / "val" / "other.json").rename(broken / "val" / "index.json")
    gone.write_bytes(gone.read_bytes()[:100])
    with pytest.raises(InputError, match=rf"{gone.name} has 100 bytes, not \d+: copy it again, or write it again"):
        shards(broken).class_names  # noqa: B018
    content = bytearray((packed / "train" / gone.name).read_bytes())
    content[len(content) // 2] ^= 1
    gone.write_bytes(content)
    with pytest.raises(InputError, match=rf"{gone.name} is damaged .*: copy it again, or write it again"):
        shards(broken).class_names  # noqa: B018
    (broken / "about.json").write_text((packed / "about.json").read_text().replace("16", "32"))
    with pytest.raises(InputError, match=r"about.json is damaged .*: copy it again, or write the shards again"):
        shards(broken).class_names  # noqa: B018
    write_json(broken / "about.json", load_json(packed / "about.json") | {"version": 99})
    with pytest.raises(InputError, match="shards of version 99, this convlens reads 2: write them again"):
        shards(broken).class_names  # noqa: B018
    with pytest.raises(InputError, match="the shards hold squares of 16 px"):
        ShardedData(str(packed), image_size=17).class_names  # noqa: B018


def test_packing_goes_on_with_the_split_that_is_missing(packed, images, tmp_path):
    folder = tmp_path / "again"
    shutil.copytree(packed, folder)
    shutil.rmtree(folder / "val")
    before = {file.name: file.stat().st_mtime_ns for file in (folder / "train").iterdir()}
    write_shards(images.splits(), images.class_names, folder, size=SIZE, shard_bytes="32KB", workers=1)
    assert {file.name: file.stat().st_mtime_ns for file in (folder / "train").iterdir()} == before
    assert shards(folder).count("val") == 30


def test_other_images_are_not_packed_over(packed, images, tmp_path):
    folder = tmp_path / "again"
    shutil.copytree(packed, folder)
    given = {"size": SIZE, "shard_bytes": "32KB", "workers": 1}
    chosen = images.splits()
    for splits, names, settings in (
        ({**chosen, "val": Split(chosen["val"].image_index, chosen["val"].rows[:-1])}, images.class_names, given),
        (chosen, ("a", "b", "c"), given),
        (chosen, images.class_names, given | {"size": SIZE - 2}),
    ):
        with pytest.raises(InputError, match="holds other images: remove it, or choose another folder"):
            write_shards(splits, names, folder, **settings)
    assert shards(folder).count("val") == 30


@pytest.mark.parametrize(("split", "count"), [("train", 120), ("val", 30), ("test", 24)])
@pytest.mark.parametrize("processes", [2, 3, 7])
def test_each_image_is_tested_by_one_of_several_processes(packed, split, count, processes):
    found = []
    for rank in range(processes):
        data = shards(packed)
        data.trainer = trainer(world_size=processes, global_rank=rank, testing=True)
        own = [int(index) for _, _, indices in data.eval_dataloader(split) for index in indices]
        assert len(own) in (count // processes, count // processes + 1)
        found += own
    assert len(found) == count == len(set(found))


@pytest.mark.slow
def test_shards_are_read_from_an_object_store(packed, tmp_path, monkeypatch):
    boto3, server = pytest.importorskip("boto3"), pytest.importorskip("moto.server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    running = server.ThreadedMotoServer("127.0.0.1", port)
    running.start()
    try:
        for name, value in (("ACCESS_KEY_ID", "me"), ("SECRET_ACCESS_KEY", "secret"), ("DEFAULT_REGION", "us-east-1")):
            monkeypatch.setenv(f"AWS_{name}", value)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}")
        client.create_bucket(Bucket="bucket")
        for file in packed.rglob("*"):
            if file.is_file():
                client.upload_file(str(file), "bucket", f"some/where/{file.relative_to(packed)}")
        data = ShardedData("s3://bucket/some/where", image_size=14, batch_size=20, cache_dir=str(tmp_path / "kept"))
        found = [int(index) for _, _, indices in data.eval_dataloader("train") for index in indices]
        assert sorted(found) == list(range(120))
        with pytest.raises(InputError, match="holds no shards"):
            ShardedData("s3://bucket/nowhere").class_names  # noqa: B018
    finally:
        running.stop()


def test_a_disk_without_room_for_the_shards_is_said_before(images, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(InputError, match=r"needs 1\.\d MB for the shards and 0\.0 MB are free: make room"):
        write_shards(images.splits(), images.class_names, tmp_path / "s", size=16, shard_bytes="1MB", workers=1)
    assert not (tmp_path / "s" / "train").exists()
