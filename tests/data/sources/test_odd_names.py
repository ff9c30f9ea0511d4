"""Files and classes whose names are not UTF-8, and lists that are not, or that name what no file can be called."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convlens.data import ImageData
from convlens.data.cache.store import cache_key
from convlens.data.shards.writer import split_digest
from convlens.data.sources import ImageFolder, ImageNet, PointedImages, VocClassification
from convlens.data.sources.exclude import read_exclusions
from convlens.data.splits.export import write_splits
from convlens.errors import InputError
from convlens.io.names import name_bytes
from tests.data.sources.test_voc import devkit, message

ODD = os.fsdecode(b"caf\xe9")


def folder(root: Path) -> Path:
    for name in (ODD, "dog"):
        (root / name).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (8, 8), (40 * number, 0, 0)).save(root / name / f"{number}.png")
        (root / name / "0.png").rename(root / name / f"{ODD}.png")
    return root


def test_images_and_classes_may_have_any_name(tmp_path):
    root = folder(tmp_path / ODD)
    data = ImageData(ImageFolder(root), image_size=8, cache_dir=tmp_path / "cache", num_workers=0)
    assert data.class_names == ("caf\\udce9", "dog")
    data.setup()
    protocol = ImageFolder(root).protocol()
    assert protocol.class_names == data.class_names
    assert len(protocol.digest(2, 0)) == 32
    train = ImageFolder(root).split("train")
    assert f"{ODD}/{ODD}.png" in train.image_index.names
    assert cache_key(train.image_index, 8) != cache_key(train.image_index.take(np.arange(3)), 8)
    assert split_digest(train, ImageFolder(root).class_names(), 8)
    write_splits(protocol, tmp_path / "lists", [None], 1)
    listed = b"".join(path.read_bytes() for path in (tmp_path / "lists/all/fold_0").iterdir())
    assert b"caf\xe9/caf\xe9.png\tcaf\\udce9\n" in listed


def test_a_list_to_leave_out_has_the_names_of_the_disk(tmp_path):
    root, path = folder(tmp_path / "images"), tmp_path / "exclude.txt"
    path.write_bytes(name_bytes(f"{ODD}/{ODD}.png\n"))
    data = ImageData(ImageFolder(root), image_size=8, cache_dir=tmp_path / "cache", num_workers=0, exclude=path)
    data.setup()
    assert f"{ODD}/{ODD}.png" in read_exclusions(path).names


def test_a_list_of_voc_may_be_in_any_encoding(tmp_path):
    inside = devkit(tmp_path, 2007)
    for path in [*inside.glob("ImageSets/Main/*"), *inside.glob("*/000001.*")]:
        if path.parent.name == "Main":
            path.write_bytes(path.read_bytes().replace(b"000001", b"caf\xe9"))
        elif path.suffix == ".xml":
            path.rename(path.with_name(f"{ODD}.xml"))
    said = message(VocClassification(tmp_path, 2007).protocol)
    assert f"lists images that {inside / 'JPEGImages'} does not have: {ODD}.jpg" in said
    (inside / "JPEGImages/000001.jpg").rename(inside / "JPEGImages" / f"{ODD}.jpg")
    assert f"JPEGImages/{ODD}.jpg" in VocClassification(tmp_path, 2007).protocol().names


@pytest.mark.parametrize("encoding", ["unknown", "utf-32", "rot13"])
def test_an_annotation_in_an_unknown_encoding_is_said(tmp_path, encoding):
    (devkit(tmp_path, 2007) / "Annotations/000002.xml").write_text(f"<?xml version='1.0' encoding='{encoding}'?><a/>")
    assert "000002.xml cannot be read: " in message(VocClassification(tmp_path, 2007).protocol)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (b"a\0.png,1,2,3,4\n", "is no name of a file, which has no zero byte"),
        (b"a.png,\xe9,2,3,4\n", "coordinates are numbers of pixels"),
        (b"a" * 200_000 + b",1,2,3,4\n", "field larger than field limit"),
    ],
)
def test_a_table_with_a_bad_row_is_said(tmp_path, row, expected):
    (tmp_path / "parts.csv").write_bytes(b"file,eye_x,eye_y,ear_x,ear_y\n" + row)
    assert expected in message(lambda: PointedImages(tmp_path).split("train"))


@pytest.mark.parametrize("content", ["ImageId,Other\na,b\n", "ImageId,PredictionString\na\n"])
def test_a_solution_without_its_columns_is_said(tmp_path, content):
    for name in ("train/n01/a.png", "val/a.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    (tmp_path / "LOC_val_solution.csv").write_text(content)
    with pytest.raises(InputError, match="no csv with the columns ImageId and PredictionString"):
        ImageNet(tmp_path).split("test")
