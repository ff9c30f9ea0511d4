from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convlens.data import ImageData, VocClassification
from convlens.data.sources.voc_devkit import CLASSES
from convlens.errors import InputError

THING = (
    "<object><name>{}</name><difficult>{}</difficult><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>{}</xmax>"
    "<ymax>10</ymax></bndbox></object>"
)
# Of each image the objects: class, difficult, width (all are 10 px high).
IMAGES: dict[str, list[tuple[str, int, int]]] = {
    "000001": [("cat", 0, 8), ("dog", 0, 20), ("dog", 1, 30)],
    "000002": [("car", 1, 5), ("bus", 1, 9)],
    "000003": [],
    "000004": [("cat", 0, 12), ("cat", 1, 13)],
    "000005": [("dog", 1, 9)],
    "000006": [],
    "000007": [("bus", 0, 9)],
}
PARTS = {"train": ["000001", "000002", "000003"], "val": ["000004", "000005"], "test": ["000006", "000007"]}
PARTS["trainval"] = PARTS["train"] + PARTS["val"]


def by_hand(*present: str, difficult: tuple[str, ...] = ()) -> list[int]:
    return [1 if name in present else 0 if name in difficult else -1 for name in CLASSES]


TARGETS = {
    "000001": by_hand("cat", "dog"), "000002": by_hand(difficult=("car", "bus")), "000003": by_hand(),
    "000004": by_hand("cat"), "000005": by_hand(difficult=("dog",)), "000006": by_hand(), "000007": by_hand("bus"),
}  # fmt: skip


def devkit(root: Path, year: int = 2007, *, files: bool = True, hidden: bool = False) -> Path:
    folder = root / f"VOC{year}"
    for name in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (folder / name).mkdir(parents=True)
    for name, things in IMAGES.items():
        Image.new("RGB", (32, 32), "green").save(folder / "JPEGImages" / f"{name}.jpg")
        if not (hidden and name in PARTS["test"]):
            text = "".join(THING.format(*thing) for thing in things)
            (folder / "Annotations" / f"{name}.xml").write_text(f"<annotation>{text}</annotation>")
    for part, images in PARTS.items():
        (folder / "ImageSets/Main" / f"{part}.txt").write_text("\n".join(images) + "\n")
        if files and not (hidden and part == "test"):
            for column, name in enumerate(CLASSES):  # the devkit aligns the numbers
                lines = "".join(f"{image} {TARGETS[image][column]:2d}\n" for image in images)
                (folder / "ImageSets/Main" / f"{name}_{part}.txt").write_text(lines)
    return folder


def message(call) -> str:
    with pytest.raises(InputError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def names(split) -> list[str]:
    return [Path(split.image_index.names[row]).stem for row in split.rows]


@pytest.mark.parametrize("files", [True, False])
def test_targets_are_those_of_the_devkit(tmp_path, caplog, files):
    devkit(tmp_path, files=files)
    protocol = VocClassification(tmp_path, 2007).protocol()
    images = [Path(name).stem for name in protocol.names]
    assert images == [*PARTS["trainval"], *PARTS["test"]]
    assert protocol.targets.tolist() == [TARGETS[image] for image in images]
    assert protocol.class_names == CLASSES
    assert caplog.text == ""
    train, test = protocol.split(None, 0)
    assert sorted(images[row] for row in train) == ["000001", "000002", "000004", "000005"]  # 3 has no object
    assert [images[row] for row in test] == ["000006", "000007"]  # 6 has none either


@pytest.mark.parametrize(
    ("label", "expected"),
    [("largest", ["dog", "bus", None, "cat", "dog"]), ("first", ["cat", "car", None, "cat", "dog"])],
)
def test_the_label_of_an_image_of_several_classes(tmp_path, label, expected):
    devkit(tmp_path)
    source = VocClassification(tmp_path, 2007, label=label)
    labels = source.protocol().labels[:5].tolist()
    assert [CLASSES[of_image] if of_image >= 0 else None for of_image in labels] == expected
    assert names(source.split("train")) == ["000001", "000002", "000004", "000005"]
    assert names(source.split("test")) == ["000007"]  # a single label needs an object
    assert source.split("val") is None


def test_training_without_val_leaves_it_for_validation(tmp_path):
    devkit(tmp_path)
    source = VocClassification(tmp_path, 2007, train_on="train")
    assert {name: names(source.split(name)) for name in ("train", "val", "test")} == {
        "train": ["000001", "000002"], "val": ["000004", "000005"], "test": ["000007"],
    }  # fmt: skip


@pytest.mark.parametrize("train_on", ["trainval", "train"])
@pytest.mark.parametrize("listed", [True, False])
def test_where_the_server_keeps_the_labels_val_is_the_test(tmp_path, train_on, listed):
    folder = devkit(tmp_path, 2012, hidden=True)
    if not listed:
        (folder / "ImageSets/Main/test.txt").unlink()
    source = VocClassification(tmp_path, train_on=train_on)
    assert names(source.split("train")) == ["000001", "000002"]
    assert names(source.split("test")) == ["000004", "000005"]
    assert source.split("val") is None
    protocol = source.protocol()
    assert [Path(name).stem for name in protocol.names] == [f"00000{k}" for k in range(1, 8 if listed else 6)]
    train, test = protocol.split(None, 0)
    assert (sorted(train), test.tolist()) == ([0, 1], [3, 4])
    submission = protocol.usable_submission
    if listed:  # the server scores the test images; then val is trained on, too
        assert (submission.part, submission.images.tolist()) == ("test", [5, 6])
        assert sorted(submission.train) == ([0, 1, 3, 4] if train_on == "trainval" else [0, 1])
        assert protocol.labels[5:].tolist() == [-1, -1]
        assert not protocol.targets[5:].any()  # of no class is known whether it is there
    else:
        assert (submission.part, submission.images.tolist(), submission.train.tolist()) == ("val", [3, 4], [0, 1])


def test_a_test_list_without_its_images_is_not_submitted(tmp_path):
    folder = devkit(tmp_path, 2012, hidden=True)
    (folder / "JPEGImages/000006.jpg").unlink()
    protocol = VocClassification(tmp_path).protocol()
    assert len(protocol) == 5
    assert protocol.usable_submission.part == "val"


def test_what_is_left_out_is_not_trained_on_for_a_submission(tmp_path):
    devkit(tmp_path)
    protocol = VocClassification(tmp_path, 2007).protocol()
    assert protocol.submission.train.tolist() == [0, 1, 3, 4]
    less = protocol.without(np.array([1, 6])).usable_submission
    assert (less.part, less.train.tolist(), less.images.tolist()) == ("test", [0, 3, 4], [5, 6])


def test_files_are_taken_where_the_annotations_differ_and_that_is_said(tmp_path, caplog):
    folder = devkit(tmp_path)
    path = folder / "ImageSets/Main/cow_trainval.txt"
    path.write_text(path.read_text().replace("000004 -1", "000004    1"))
    protocol = VocClassification(tmp_path, 2007).protocol()
    assert protocol.targets[3].tolist() == by_hand("cat", "cow")
    assert "of trainval and the annotations differ in 1 of 5 images (000004)" in caplog.text


def test_batches_and_regions(tmp_path):
    devkit(tmp_path)
    source = VocClassification(tmp_path, 2007)
    data = ImageData(source, image_size=28, mean=[0, 0, 0], cache_dir=tmp_path / "cache", limit=9, val_share=0)
    images, labels = next(iter(data.pool_dataloader()))
    assert images.shape == (7, 3, 28, 28)
    assert labels.tolist() == data.protocol.labels.tolist()
    index = [data.image_id("train", i) for i in range(len(data.dataset("train")))].index("JPEGImages/000001.jpg")
    assert set(data.regions("train", index)) == {"cat", "dog", "object"}


def spoilt(root: Path, path: str, content: str | None) -> Path:
    """A devkit with another content of a file of VOC2007, or without the file."""
    file = devkit(root) / path
    if content is None:
        file.unlink()
    else:
        file.write_text(content)
    return file


@pytest.mark.parametrize(
    ("path", "content", "expected"),
    [
        ("Annotations/000002.xml", "<annot", "000002.xml cannot be read: "),
        ("Annotations/000002.xml", None, "000002.xml cannot be read: "),
        ("Annotations/000002.xml", "<a><object><name>cow</name></object></a>", "an object 'cow' without a box"),
        ("JPEGImages/000002.jpg", None, "lists images that "),
        ("ImageSets/Main/cow_trainval.txt", None, "has no cow_trainval.txt: add them, or remove all <class>_trainval"),
        ("ImageSets/Main/cow_trainval.txt", "000001 1\n", "has no line for 000002, 000003, 000004, 000005: give"),
        ("ImageSets/Main/cow_trainval.txt", "000001 2\n", "cow_trainval.txt, line 1, is '000001 2': an image and 1, 0"),
        ("ImageSets/Main/trainval.txt", None, "trainval.txt is missing or empty; get it from http://host.robots"),
    ],
)
def test_a_broken_devkit_is_said(tmp_path, path, content, expected):
    spoilt(tmp_path, path, content)
    assert expected in message(VocClassification(tmp_path, 2007).protocol)


def test_a_test_that_is_annotated_in_part_is_broken(tmp_path):
    spoilt(tmp_path, "Annotations/000006.xml", None)
    assert "000006.xml cannot be read" in message(VocClassification(tmp_path, 2007).protocol)


def test_one_class_is_not_enough(tmp_path):
    folder = devkit(tmp_path)
    (folder / "ImageSets/Main/trainval.txt").write_text("000001\n000005\n")
    protocol = VocClassification(tmp_path, 2007).protocol()
    assert "has only dog: add another" in message(lambda: protocol.split(None, 0))
    assert "class aeroplane of voc2007" in message(lambda: protocol.split(1, 0))


def test_wrong_values_are_refused(tmp_path, unchecked):
    assert "train_on is 'val': choose one of trainval, train" in message(
        lambda: unchecked(VocClassification, tmp_path, 2007, "val")
    )
    assert "label is 'all': choose one of largest, first" in message(
        lambda: unchecked(VocClassification, tmp_path, label="all")
    )
    assert "VOC 2012: " in message(VocClassification(tmp_path).protocol)


# On the real devkits


@pytest.mark.slow
@pytest.mark.parametrize(("year", "sizes"), [(2007, (300, 300)), (2012, (350, 350))])
def test_real_label_files_and_annotations_agree(shared_data, caplog, year, sizes):
    protocol = VocClassification(shared_data / "VOCdevkit", year).protocol()
    assert tuple(len(rows) for rows in protocol.split(None, 0)) == sizes
    assert caplog.text == ""
    assert set(np.unique(protocol.targets)) == {-1, 0, 1}
    positives = dict(zip(CLASSES, (protocol.targets[350:] == 1).sum(0).tolist(), strict=True))
    if year == 2012:  # the table of the pictures' README, 2012 val
        assert (positives["cat"], positives["person"], positives["sofa"], positives["train"]) == (71, 126, 27, 0)


@pytest.mark.slow
def test_a_real_pool(shared_data, tmp_path):
    source = VocClassification(shared_data / "VOCdevkit", 2007)
    data = ImageData(
        source, image_size=56, mean=[124, 117, 104], cache_dir=tmp_path, on_corrupt="fatal", resize_mode="squeeze"
    )
    images, labels = next(iter(data.pool_dataloader(start=290)))
    assert len(images) == 128
    assert labels.tolist() == data.protocol.labels[290:418].tolist()
    assert 40 < images.std() < 100
