import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convlens.runs.dispatch import check
from convlens.tasks.study import shared_overrides
from tests.composed_job import job_config


def scene(seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    return Image.fromarray(pixels).resize((80, 80), Image.Resampling.BICUBIC)


@pytest.fixture
def photos(tmp_path) -> Path:
    """Two classes of eight images; the last cat is a dog as well."""
    for label, name in enumerate(("cat", "dog")):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for i in range(8):
            scene(100 * label + i).save(folder / f"{i}.png")
    shutil.copy(tmp_path / "photos/dog/3.png", tmp_path / "photos/cat/8.png")
    return tmp_path / "photos"


@pytest.fixture
def tiny(tmp_path) -> Path:
    """A set of another kind, in which there are two of the dogs and one of the cats."""
    root = tmp_path / "tiny"
    (root / "train/n01/images").mkdir(parents=True)
    (root / "val/images").mkdir(parents=True)
    (root / "wnids.txt").write_text("n01\n")
    (root / "words.txt").write_text("n01\tanimal\n")
    (root / "val/val_annotations.txt").write_text("v.JPEG\tn01\t0\t0\t1\t1\n")
    for name, seed in (("a", 101), ("b", 5), ("c", 900), ("d", 901)):
        scene(seed).resize((64, 64)).save(root / f"train/n01/images/{name}.JPEG", quality=90)
    scene(106).save(root / "val/images/v.JPEG", quality=90)
    return root


OWN = ("task=duplicates", "data=image_folder", "data.source.root=photos", "data.image_size=64", "run_dir=out")


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_copies_in_another_set_are_listed_drawn_and_reported(convlens, photos, tiny, tmp_path):
    outcome = convlens(*OWN, "task.against=tiny_imagenet", "task.against_root=tiny")
    assert (outcome.code, outcome.err) == (0, ""), outcome
    folder = tmp_path / "out/results/duplicates"
    assert sorted(lines(folder / "exclude.txt")) == ["cat/5.png", "dog/1.png", "dog/6.png"]
    theirs = ["train/n01/images/a.JPEG", "train/n01/images/b.JPEG", "val/images/v.JPEG"]
    assert sorted(lines(folder / "exclude_other.txt")) == theirs
    rows = list(csv.DictReader((folder / "duplicates.csv").open()))
    assert {(row["image"], row["class"], row["other"], row["other_class"]) for row in rows} == {
        ("dog/1.png", "dog", theirs[0], "animal"),
        ("cat/5.png", "cat", theirs[1], "animal"),
        ("dog/6.png", "dog", theirs[2], "animal"),
    }
    large = [float(row["correlation_large"]) for row in rows]
    assert large == sorted(large, reverse=True)
    assert min(large) > 0.97
    result = json.loads((folder / "result.json").read_text())
    assert result["tables"][0]["rows"] == [["dog", 2, 8], ["cat", 1, 9]]
    assert [number["value"] for number in result["numbers"]] == [17, 3, 3]
    assert Image.open(folder / "pairs.png").width > 200
    assert "17 images against 5: 3 pairs, 3 to leave out" in outcome.out
    assert convlens("task=report", "run=out").code == 0
    page = (tmp_path / "out/report.html").read_text()
    assert "Duplicate images" in page
    assert "3 of 17 images occur also in another set of 5" in page


def test_a_set_is_compared_with_itself_and_nothing_of_an_earlier_result_stays(convlens, photos, tmp_path):
    outcome = convlens(*OWN)
    assert (outcome.code, outcome.err) == (0, ""), outcome
    folder = tmp_path / "out/results/duplicates"
    assert lines(folder / "exclude.txt") in (["cat/8.png"], ["dog/3.png"])
    assert not (folder / "exclude_other.txt").exists()
    assert (folder / "pairs.png").exists()
    assert convlens(*OWN, "task.large_threshold=1.0", "task.small_threshold=1.0", "task.splits=[val]").code == 0
    assert lines(folder / "exclude.txt") == []
    assert len(lines(folder / "duplicates.csv")) == 1
    assert not (folder / "pairs.png").exists()


def test_both_sets_are_cut_alike(convlens, photos, tmp_path):
    for path in photos.rglob("*.png"):
        with Image.open(path) as image:
            image.resize((160, 80)).save(path)
    shutil.copytree(photos, tmp_path / "copies")
    own = (*OWN, "task.against=image_folder", "task.against_root=copies")
    found = []
    for mode in ("crop", "squeeze"):
        outcome = convlens(*own, f"data.resize_mode={mode}")
        assert outcome.code == 0, outcome.err
        found.append({line.split(",")[0] for line in lines(tmp_path / "out/results/duplicates/duplicates.csv")[1:]})
    assert len(found[0]) == len(list(photos.rglob("*.png")))
    assert found[0] == found[1]


def test_the_images_of_a_run_are_the_other_set_when_data_are_given(convlens, trained, photos, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    outcome = convlens(*OWN[:-1], "run=run")
    assert (outcome.code, outcome.err) == (0, ""), outcome
    assert "17 images against 72: 0 pairs, 0 to leave out" in outcome.out
    assert (tmp_path / "run/results/duplicates/result.json").exists()
    outcome = convlens("task=duplicates", "run=run")
    assert "72 images among themselves" in outcome.out


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            ("task.against=tiny_imagnet",),
            "task.against='tiny_imagnet' is no data set: choose one of caltech101, caltech256, cifar10,",
        ),
        (("task.against_root=x",), "task.against_root=x needs the kind of data set: give task.against, too"),
        (("run=nowhere", "task.against=parts"), "run=nowhere and task.against are both given"),
        (("run=nowhere",), "nowhere is not a run directory"),
        (("task.against=tiny_imagenet", "task.against_root=x"), "Tiny-ImageNet: x/wnids.txt is missing or empty"),
        (("task.large_threshold=2",), "task.large_threshold=2: give a number from 0 to 1"),
        (("task.block_size=0",), "task.block_size=0: give a whole number of at least 1"),
        (("task.large_threshold=0",), "a correlation of 0 is out of range"),
        (("task.splits=[dev]",), "task.splits=[dev]: give a list of train or val or test or null"),
    ],
)
def test_what_cannot_be_compared_is_said_and_nothing_is_left(refused, photos, tmp_path, settings, said):
    assert refused(*OWN, *settings).startswith(said)
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


# ---- training without them ---------------------------------------------------------------------------------------

RECIPE = (
    *("experiment=without_duplicates", "data=image_folder", "data.source.root=photos", "data.image_size=64"),
    *("transfer_data=image_folder", "transfer_root='other set'", "transfer_images_per_class=[1,null]"),
    *("transfer_folds=[0]", "model=alexnet", "model.net.width=0.1", "recipe.max_epochs=1", "callbacks=none"),
)


def test_the_recipe_finds_copies_trains_without_them_and_transfers():
    with job_config(*RECIPE) as (cfg, overrides):
        settings = check(cfg, overrides)
    parts = {part.name: part for part in settings.parts}
    assert [(part.run, part.result) for part in settings.parts] == [
        ("duplicates", "duplicates"), ("network", None), ("network", "transfer_*"),
    ]  # fmt: skip
    assert parts["find duplicates"].overrides[1:] == ["task.against=image_folder", "task.against_root='other set'"]
    assert parts["train without them"].overrides == [
        "task=train", "data.exclude={duplicates:results/duplicates/exclude.txt}",
    ]  # fmt: skip
    transfer = parts["transfer"]
    assert transfer.overrides == [
        *("task=transfer", "run={network}", "data=image_folder", "data.source.root='other set'"),
        *("task.images_per_class=[1, null]", "task.folds=[0]"),
    ]
    assert transfer.without == ["data"]
    assert shared_overrides(overrides, settings.scale, settings.parts) == list(overrides)


def test_the_recipe_has_caltech_101_as_the_other_set():
    for command in ("experiment=without_duplicates", "task=without_duplicates"):
        with job_config(command, "data_dir=here") as (cfg, overrides):
            first, _, last = check(cfg, overrides).parts
        assert first.overrides[1:] == ["task.against=caltech101", "task.against_root='here/caltech101'"]
        assert last.overrides[2:] == [
            *("data=caltech101", "data.source.root='here/caltech101'"),
            *("task.images_per_class=[15, 30]", "task.folds=[0, 1, 2, 3, 4]"),
        ]


@pytest.mark.slow  # ten seconds: it trains, extracts features and fits probes
def test_a_network_is_trained_without_the_images_of_another_set(convlens, photos, tmp_path):
    for label, name in enumerate(("bus", "car")):
        folder = tmp_path / "other set" / name
        folder.mkdir(parents=True)
        for number in range(6):
            scene(1000 + 100 * label + number).save(folder / f"{number}.png")
    for number, name in ((2, "cat/from_bus.png"), (4, "dog/from_bus.png")):
        shutil.copy(tmp_path / f"other set/bus/{number}.png", photos / name)
    outcome = convlens(*RECIPE, "run_dir=a study")
    assert (outcome.code, outcome.err) == (0, ""), outcome
    study = tmp_path / "a study"
    assert sorted(lines(study / "duplicates/results/duplicates/exclude.txt")) == [
        "cat/from_bus.png",
        "dog/from_bus.png",
    ]
    seen = [
        str(name)
        for split in ("test", "train_eval")
        for name in np.load(study / f"network/results/{split}/predictions.npz")["images"]
    ]
    assert {Path(name).name for name in seen} & {"3.png", "5.png"}
    assert not [name for name in seen if "from_bus" in name]
    result = json.loads((study / "network/results/transfer_other-set/result.json").read_text())
    assert result["title"].endswith("other set")
    table = (study / "network/results/transfer_other-set/table.csv").read_text()
    assert {line.split(",")[3] for line in table.splitlines()[1:]} == {"1", "all"}
    again = convlens(*RECIPE, "run_dir=a study")
    assert "3 of 3 parts were finished before and reused" in again.out


def test_names_that_are_not_utf8_are_listed_as_they_are_on_the_disk(convlens, photos, tmp_path):
    odd = os.fsdecode(b"caf\xe9")
    (photos / "dog").rename(photos / odd)
    (photos / odd / "3.png").rename(photos / odd / f"{odd}.png")
    outcome = convlens(*OWN[:-1], "run_dir=new")
    assert (outcome.code, outcome.err) == (0, ""), outcome
    folder = tmp_path / "new/results/duplicates"
    rows = list(csv.DictReader((folder / "duplicates.csv").open(errors="surrogateescape")))
    assert {row["image"] for row in rows} | {row["other"] for row in rows} == {"cat/8.png", f"{odd}/{odd}.png"}
    assert {row["class"] for row in rows} | {row["other_class"] for row in rows} == {"cat", "caf\\udce9"}
    listed = (folder / "exclude.txt").read_bytes()
    assert listed in (b"cat/8.png\n", b"caf\xe9/caf\xe9.png\n")
    without = convlens(*OWN[:-1], "run_dir=again", f"data.exclude={folder / 'exclude.txt'}")
    assert (without.code, without.err) == (0, ""), without
    assert (tmp_path / "again/results/duplicates/exclude.txt").read_bytes() == b""
