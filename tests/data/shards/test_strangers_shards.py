"""Shards of somebody else: none runs code, leads out of its folder or is read unchecked."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convlens.data import ShardedData
from convlens.data.shards import writer
from convlens.data.splits.image_index import FileIndex
from convlens.data.splits.split import Split
from convlens.errors import InputError
from convlens.io.json_files import load_json, write_json

pytest.importorskip("litdata")


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    (folder / "images").mkdir()
    names = [f"{number}.png" for number in range(6)]
    for number, name in enumerate(names):
        Image.new("RGB", (12, 12), (number, 0, 0)).save(folder / "images" / name)
    index = FileIndex("test", names, np.arange(6) % 2, folder / "images")
    split = Split(index, np.arange(6))
    writer.write_shards({"train": split}, ["a", "b"], folder / "s", size=8, shard_bytes="1MB", workers=1)
    return folder / "s"


def rewrite_index(shards: Path, edit: Callable[[dict[str, object]], object]) -> None:
    """Change the index of a split as a stranger would, who brings sizes and checksums in line."""
    path = shards / "train" / "index.json"
    index = json.loads(path.read_text())
    edit(index)
    path.write_text(json.dumps(index))
    about = load_json(shards / "about.json")
    about["shards"]["train"]["index.json"] = path.stat().st_size
    del about["crc32"]
    write_json(shards / "about.json", about)


EDITS: dict[str, Callable[[dict], object]] = {
    "pickled values": lambda index: index["config"].update(data_format=["pickle", "int", "int"]),
    "another class": lambda index: index["config"].update(
        data_spec=index["config"]["data_spec"].replace("builtins.dict", "collections.OrderedDict")
    ),
    "compressed": lambda index: index["config"].update(compression="zstd"),
    "a file outside": lambda index: index["chunks"][0].update(filename="../../secret.bin"),
    "containers that are no list": lambda index: index["config"].update(
        data_spec=json.dumps([1, {"type": "builtins.dict", "context": None, "children_spec": {}}])
    ),
    "a specification without end": lambda index: index["config"].update(data_spec="[" * 20_000),
    "a name that is none": lambda index: index["chunks"][0].update(filename=["x"]),
    "chunks that are none": lambda index: index.update(chunks=[3]),
    "settings that are none": lambda index: index.update(config=[]),
    "no chunks": lambda index: index.pop("chunks"),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_index_of_shards_that_is_not_ours_is_refused(name, shards, tmp_path):
    shutil.copytree(shards, tmp_path / "s")
    assert ShardedData(str(tmp_path / "s"), image_size=8).class_names == ("a", "b")
    rewrite_index(tmp_path / "s", EDITS[name])
    with pytest.raises(
        InputError, match=r"index.json is (not as convlens writes it|damaged).*: write the shards again"
    ):
        ShardedData(str(tmp_path / "s"), image_size=8).class_names  # noqa: B018


def test_metadata_of_shards_name_no_file_outside(shards, tmp_path):
    shutil.copytree(shards, tmp_path / "s")
    about = load_json(tmp_path / "s" / "about.json")
    about["shards"]["train"]["../../secret"] = 3
    write_json(tmp_path / "s" / "about.json", about)
    with pytest.raises(InputError, match=r"with a file named '../../secret'"):
        ShardedData(str(tmp_path / "s"), image_size=8).class_names  # noqa: B018


def delete(name: str) -> Callable[[dict], object]:
    return lambda about: about.pop(name)


METADATA: dict[str, Callable[[dict], object]] = {
    "no files": delete("shards"),
    "no counts": delete("counts"),
    "no classes": delete("class_names"),
    "no size": delete("size"),
    "no mean": delete("mean"),
    "no mean image": lambda about: about.update(mean=[0.0]),
    "a size that is none": lambda about: about.update(size="8"),
    "files that are none": lambda about: about.update(shards=[]),
    "bytes that are none": lambda about: about["shards"]["train"].update({"index.json": None}),
    "a split whose files are not checked": lambda about: about.update(shards={}),
    "checksums that are none": lambda about: about.update(crc32=3),
    "a split without files": lambda about: about.update(shards={"train": {}}),
}


@pytest.mark.parametrize("name", METADATA)
def test_metadata_that_are_not_ours_are_refused(name, shards, tmp_path):
    shutil.copytree(shards, tmp_path / "s")
    about = load_json(tmp_path / "s" / "about.json")
    METADATA[name](about)
    write_json(tmp_path / "s" / "about.json", about)
    with pytest.raises(InputError, match=r"(about|index)\.json is not as convlens writes it .*: write the shards"):
        ShardedData(str(tmp_path / "s"), image_size=8).class_names  # noqa: B018


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("name", ["*.bin", "index.json"])
def test_a_shard_that_is_a_link_out_is_refused(name, old, shards, tmp_path):
    shutil.copytree(shards, tmp_path / "s")
    if old:  # shards of version 0.1 have no checksums
        about = load_json(tmp_path / "s" / "about.json")
        del about["crc32"]
        write_json(tmp_path / "s" / "about.json", about)
    shard = next((tmp_path / "s" / "train").glob(name))
    shard.rename(tmp_path / "secret")
    shard.symlink_to(tmp_path / "secret")
    with pytest.raises(InputError, match=r"is a link out of .*: (copy the file itself|write the shards again)"):
        ShardedData(str(tmp_path / "s"), image_size=8).class_names  # noqa: B018


@pytest.mark.parametrize("name", ["about.json", "train/index.json"])
def test_a_pipe_among_shards_is_not_waited_for(name, shards, tmp_path):
    shutil.copytree(shards, tmp_path / "s")
    about = load_json(tmp_path / "s" / "about.json")
    about["shards"]["train"]["index.json"] = 0
    write_json(tmp_path / "s" / "about.json", about)
    (tmp_path / "s" / name).unlink()
    os.mkfifo(tmp_path / "s" / name)
    with pytest.raises(InputError, match="is no regular file"):
        ShardedData(str(tmp_path / "s"), image_size=8).class_names  # noqa: B018
