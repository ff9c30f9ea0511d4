"""Files of somebody else, one of each kind that is read, with a payload: it never runs, and the file is refused."""

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from convlens.analysis.galleries.array_store import Patches, read_gallery
from convlens.data.cache.store import cache_images
from convlens.data.splits.image_index import FileIndex
from convlens.data.validate import mean_image
from convlens.errors import DamagedError, InputError
from convlens.io.arrays import write_array, write_arrays
from convlens.io.json_files import load_json, write_json
from convlens.io.memory_maps import create_memory_map
from convlens.nets.weights import load_weights
from convlens.report.load import read_run
from convlens.runs.authorship import mark
from convlens.runs.mended_checkpoints import mend_checkpoints
from convlens.runs.predictions import read_predictions, read_probabilities
from convlens.runs.trust import trusted_config
from convlens.transfer.feature_store import FeatureStore

CONFIG = "seed: 1\nmodel: {net: {_target_: convlens.nets.zfnet}}\ndata: {_target_: convlens.data.ImageData}\n"
RAN = "ran"
"""The folder that a payload makes."""


def pictures(folder: Path, count: int) -> list[str]:
    """Write images into a folder and return their names."""
    folder.mkdir()
    for number in range(count):
        Image.new("RGB", (12, 12), (number, 0, 0)).save(folder / f"{number}.png")
    return [f"{number}.png" for number in range(count)]


class Payload:
    """An object whose unpickling makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.target = str(folder / RAN)

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (self.target,)


@pytest.fixture
def payload(tmp_path):
    yield Payload(tmp_path)
    assert not (tmp_path / RAN).exists()


def objects(payload: Payload) -> np.ndarray:
    return np.array([payload], dtype=object)


def checkpoint(path: Path, payload: Payload) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": {"net.weight": payload}}, path)


def old_checkpoint(path: Path, payload: Payload) -> None:
    path.write_bytes(pickle.dumps(payload))


def arrays(path: Path, payload: Payload, *names: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **dict.fromkeys(names, objects(payload)))


READERS: dict[str, Callable[[Path, Payload], object]] = {
    "weights": lambda at, p: (checkpoint(at / "a.ckpt", p), load_weights(nn.Linear(1, 1), at / "a.ckpt")),
    "weights of an old format": lambda at, p: (old_checkpoint(at / "a.pth", p), load_weights(nn.ReLU(), at / "a.pth")),
    "mean image": lambda at, p: (np.save(at / "mean.npy", objects(p)), mean_image(str(at / "mean.npy"), 4)),
    "predictions": lambda at, p: (
        arrays(at / "results/test/predictions.npz", p, "images", "labels", "top5"),
        read_predictions(at),
    ),
    "probabilities": lambda at, p: (
        arrays(at / "results/test/probabilities.npz", p, "probabilities"),
        read_probabilities(at),
    ),
    "gallery": lambda at, p: (arrays(at / "conv1.npz", p, "maps"), read_gallery(at, "conv1")),
}


def test_the_payload_would_run(tmp_path):
    pickle.loads(pickle.dumps(Payload(tmp_path)))
    assert (tmp_path / RAN).exists()


@pytest.mark.parametrize("name", READERS)
def test_a_payload_is_refused(name, tmp_path, payload):
    with pytest.raises(InputError):
        READERS[name](tmp_path, payload)


def test_a_run_with_a_payload_for_its_checkpoint_starts_anew(tmp_path, payload):
    checkpoint(tmp_path / "checkpoints" / "last.ckpt", payload)
    mend_checkpoints(tmp_path)
    assert not (tmp_path / "checkpoints" / "last.ckpt").exists()


def test_a_cache_with_a_payload_is_built_again(tmp_path, payload):
    names = pictures(tmp_path / "images", 3)
    index = FileIndex("test", names, np.zeros(3, np.int64), tmp_path / "images")
    folder = cache_images(index, 8, tmp_path / "cache").folder
    with (folder / "images.npy").open("wb") as file:
        np.save(file, objects(payload))
    assert np.load(cache_images(index, 8, tmp_path / "cache").pixels_path).shape == (3, 3, 8, 8)


def test_features_with_a_payload_are_extracted_again(tmp_path, payload):
    store = FeatureStore(tmp_path / "f", {"of": "this"}, 2)
    store.put(0, {"last": torch.ones(2, 3)})
    np.save(tmp_path / "f" / "last.npy", objects(payload))
    assert FeatureStore(tmp_path / "f", {"of": "this"}, 2).done("last") == 0


def linked_out(path: Path) -> Path:
    """Replace a file by a link to it in a folder beside that of the file; return the file."""
    target = path.parent.with_name("secret") / path.name
    target.parent.mkdir(exist_ok=True)
    path.rename(target)
    path.symlink_to(target)
    return target


def test_a_link_of_features_is_neither_read_nor_written_through(tmp_path):
    store = FeatureStore(tmp_path / "f", {"of": "this"}, 2)
    store.put(0, {"whole": torch.ones(2, 3)})
    store.put(0, {"last": torch.ones(1, 3)})
    theirs = [linked_out(tmp_path / "f" / f"{layer}.npy") for layer in ("last", "whole")]
    before = [path.read_bytes() for path in theirs]
    with pytest.raises(InputError, match="is a link out of"):
        FeatureStore(tmp_path / "f", {"of": "this"}, 2).put(1, {"last": torch.zeros(1, 3)})
    with pytest.raises(InputError, match="is a link out of"):
        FeatureStore(tmp_path / "f", {"of": "this"}, 2).read("whole")
    assert [path.read_bytes() for path in theirs] == before


def test_a_record_that_is_a_link_out_counts_as_damaged(tmp_path):
    write_json(tmp_path / "run" / "run.json", {"task": "train"})
    linked_out(tmp_path / "run" / "run.json")
    with pytest.raises(DamagedError, match="is a link out of"):
        load_json(tmp_path / "run" / "run.json")


def test_links_of_a_cache_are_not_followed(tmp_path):
    index = FileIndex("test", pictures(tmp_path / "images", 3), np.zeros(3, np.int64), tmp_path / "images")
    cache = cache_images(index, 8, tmp_path / "cache")
    cache.mean(np.arange(3))
    linked_out(next(cache.folder.glob("mean-*.npy")))
    with pytest.raises(InputError, match="is a link out of"):
        cache.mean(np.arange(3))
    pixels = linked_out(cache.pixels_path)
    before = pixels.read_bytes()
    with pytest.raises(InputError, match="is a link out of"):
        cache_images(index, 8, tmp_path / "cache")
    cache.folder.rename(f"{cache.folder}.partial")  # a cache that is being built
    with pytest.raises(InputError, match="is a link out of"):
        cache_images(index, 8, tmp_path / "cache")
    assert pixels.read_bytes() == before


def test_links_of_a_gallery_are_not_followed(tmp_path):
    write_arrays(tmp_path / "g" / "conv1.npz", {"maps": np.arange(2)})
    linked_out(tmp_path / "g" / "conv1.npz")
    with pytest.raises(InputError, match="is a link out of"):
        read_gallery(tmp_path / "g", "conv1")
    Patches.create(tmp_path / "w", "conv1", (1, 1, 3, 2, 2))
    linked_out(tmp_path / "w" / "conv1.npy")
    with pytest.raises(InputError, match="is a link out of"):
        Patches(tmp_path / "w", "conv1")


def test_an_array_that_is_created_is_not_written_through_a_link(tmp_path):
    write_array(tmp_path / "a" / "x.npy", np.arange(4))
    theirs = linked_out(tmp_path / "a" / "x.npy")
    before = theirs.read_bytes()
    create_memory_map(tmp_path / "a" / "x.npy", np.float32, (2,))
    assert theirs.read_bytes() == before


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "a/../../secret.png"])
def test_a_list_of_images_names_none_outside_of_its_folder(name, tmp_path):
    with pytest.raises(InputError, match=f"test: {name} leads out of .*: give paths below it"):
        FileIndex("test", ["a.png", name], np.zeros(2, np.int64), tmp_path)


# ---- runs -------------------------------------------------------------------------------------------------------


def test_a_link_out_of_a_run_is_followed_only_if_trusted(tmp_path):
    (tmp_path / "secret").mkdir()
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text(CONFIG)
    assert trusted_config(run, trust=False).seed == 1
    (run / "results").symlink_to(tmp_path / "secret")
    write_json(run / "run.json", {"author": mark(CONFIG.encode())})  # of one's own, too
    with pytest.raises(InputError, match=r"run/results is a link out of .*/run: if you made it, .* trust=true"):
        trusted_config(run, trust=False)
    assert trusted_config(run, trust=True).seed == 1


@pytest.mark.parametrize("text", ["b: ${nosuch}\n", "b: ${b}\n", "b: ${a}\na: ${b}\n"])
def test_a_configuration_that_cannot_be_resolved_is_one_line(text, tmp_path):
    (tmp_path / "config.yaml").write_text(CONFIG + text)
    with pytest.raises(InputError, match=r"config.yaml cannot be resolved \(") as caught:
        trusted_config(tmp_path, trust=True)
    assert "\n" not in str(caught.value)


def test_a_report_shows_nothing_that_a_link_leads_to(tmp_path):
    (tmp_path / "secret").write_text("password: 1234\n")
    run = tmp_path / "run"
    run.mkdir()
    write_json(run / "run.json", {"task": "train", "name": "a"})
    (run / "config.yaml").symlink_to(tmp_path / "secret")
    problems: list[str] = []
    assert read_run(run, problems).config == ""
    assert any("config.yaml is a link out of" in problem for problem in problems)


def test_predictions_are_not_read_through_a_link(tmp_path):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w"):
        pass
    (tmp_path / "secret.npz").write_bytes(content.getvalue())
    (tmp_path / "run/results/test").mkdir(parents=True)
    (tmp_path / "run/results/test/predictions.npz").symlink_to(tmp_path / "secret.npz")
    with pytest.raises(InputError, match="is a link out of"):
        read_predictions(tmp_path / "run")
