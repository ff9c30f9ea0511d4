import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from convlens.data.sources import Caltech101, Caltech256, Cifar10, ImageFolder, ImageNet, TinyImageNet
from convlens.errors import InputError


def named(split) -> dict[str, int]:
    """Names and labels of a split."""
    return {split.image_index.names[row]: int(split.image_index.labels[row]) for row in split.rows}


def message(call) -> str:
    with pytest.raises(InputError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


class Backwards:
    """A folder as a file system might list it that keeps its entries in another order."""

    scandir = staticmethod(os.scandir)

    def __init__(self, path):
        self.entries = sorted(self.scandir(path), key=lambda entry: entry.name)

    def __iter__(self):
        return self

    def __next__(self):
        if not self.entries:
            raise StopIteration
        return self.entries.pop()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


# Image folder


def test_image_folder_in_two_levels(tmp_path, image_tree):
    for below in ("train/cat", "train/dog/puppies", "test/dog"):
        image_tree(tmp_path / below, 2, suffix=".JPG")
    for stray in ("train/cat/.hidden.jpg", "train/cat/notes.txt", "train/README.md", "train/.cache"):
        (tmp_path / stray).write_text("")
    source = ImageFolder(tmp_path)
    assert source.class_names() == ("cat", "dog")
    assert named(source.split("train")) == {
        "train/cat/image_0000.JPG": 0,
        "train/cat/image_0001.JPG": 0,
        "train/dog/puppies/image_0000.JPG": 1,
        "train/dog/puppies/image_0001.JPG": 1,
    }
    assert named(source.split("test")) == {"test/dog/image_0000.JPG": 1, "test/dog/image_0001.JPG": 1}
    assert source.split("val") is None


def test_image_folder_with_val_only_tests_on_it(tmp_path, image_tree):
    for below in ("train/cat", "val/cat"):
        image_tree(tmp_path / below, 1)
    source = ImageFolder(tmp_path)
    assert list(named(source.split("test"))) == ["val/cat/image_0000.png"]
    assert source.split("val") is None


def test_image_folder_with_all_three_splits(tmp_path, image_tree):
    for below in ("train/cat", "val/cat", "test/cat"):
        image_tree(tmp_path / below, 1)
    source = ImageFolder(tmp_path)
    assert {name: list(named(source.split(name))) for name in ("train", "val", "test")} == {
        name: [f"{name}/cat/image_0000.png"] for name in ("train", "val", "test")
    }


def test_image_folder_in_one_level_holds_out_a_share(tmp_path, image_tree):
    image_tree(tmp_path / "cat", 10)
    image_tree(tmp_path / "train", 5)  # a class of that name, not a split
    source = ImageFolder(tmp_path, test_share=0.2)
    train, test = source.split("train"), source.split("test")
    assert source.class_names() == ("cat", "train")
    assert train.image_index is test.image_index  # one cache, whatever the share
    assert np.bincount(list(named(test).values())).tolist() == [2, 1]
    assert set(named(train)).isdisjoint(named(test))
    assert len(named(train)) + len(named(test)) == 15
    assert named(ImageFolder(tmp_path, test_share=0.2).split("test")) == named(test)
    assert named(ImageFolder(tmp_path, test_share=0.2, seed=1).split("test")) != named(test)


def test_order_of_the_file_system_does_not_matter(tmp_path, image_tree, monkeypatch):
    image_tree(tmp_path / "cat", 6)
    image_tree(tmp_path / "dog", 6)
    before = {name: named(ImageFolder(tmp_path).split(name)) for name in ("train", "test")}
    monkeypatch.setattr(os, "scandir", Backwards)
    after = {name: named(ImageFolder(tmp_path).split(name)) for name in ("train", "test")}
    assert {name: list(split.items()) for name, split in after.items()} == {
        name: list(split.items()) for name, split in before.items()
    }


def test_image_folder_says_what_is_wrong(tmp_path, image_tree):
    assert f"{tmp_path / 'none'} is missing; <root>/train/<class>" in message(
        ImageFolder(tmp_path / "none").class_names
    )
    (tmp_path / "bare").mkdir()
    assert "bare has no class folders" in message(ImageFolder(tmp_path / "bare").class_names)
    image_tree(tmp_path / "flat" / "train", 2)
    image_tree(tmp_path / "flat" / "val", 2)
    assert "train has no class folders" in message(ImageFolder(tmp_path / "flat").class_names)
    image_tree(tmp_path / "untested" / "train" / "cat", 2)
    assert "no class folders in test/ or val/" in message(lambda: ImageFolder(tmp_path / "untested").split("test"))
    image_tree(tmp_path / "one" / "cat", 1)
    image_tree(tmp_path / "one" / "dog", 2)
    assert "class cat in" in message(lambda: ImageFolder(tmp_path / "one").split("train"))
    for share in (0.0, 1.0):
        assert f"test_share is {share}" in message(lambda share=share: ImageFolder(tmp_path, test_share=share))


def test_empty_classes_are_named(tmp_path, image_tree):
    image_tree(tmp_path / "train" / "cat", 2)
    image_tree(tmp_path / "test" / "cat", 2)
    for name in ("cow", "dog"):
        (tmp_path / "train" / name).mkdir()
        (tmp_path / "train" / name / "notes.txt").write_text("")
    assert message(lambda: ImageFolder(tmp_path).split("train")) == (
        f"class folders without an image in {tmp_path / 'train'}: cow, dog; fill or remove them"
    )


def test_a_test_class_that_is_never_trained_is_named(tmp_path, image_tree):
    image_tree(tmp_path / "train" / "cat", 2)
    image_tree(tmp_path / "test" / "kat", 2)
    assert "no class of the training images: kat; the classes are cat" in message(
        lambda: ImageFolder(tmp_path).split("test")
    )


# ImageNet


def write_imagenet(root: Path, image_tree) -> None:
    for seed, wnid in enumerate(("n01", "n02", "n03")):
        image_tree(root / "train" / wnid, 2, seed, ".JPEG")


def test_imagenet_in_folders(tmp_path, image_tree):
    write_imagenet(tmp_path, image_tree)
    image_tree(tmp_path / "val" / "n02", 1, suffix=".JPEG")
    source = ImageNet(tmp_path)
    assert source.class_names() == ("n01", "n02", "n03")
    assert len(named(source.split("train"))) == 6
    assert named(source.split("train"))["train/n03/image_0001.JPEG"] == 2
    assert named(source.split("test")) == {"val/n02/image_0000.JPEG": 1}
    assert source.split("val") is None


@pytest.mark.parametrize("kaggle", [False, True])
def test_imagenet_with_flat_val_and_names(tmp_path, image_tree, kaggle):
    images = tmp_path / "ILSVRC/Data/CLS-LOC" if kaggle else tmp_path
    write_imagenet(images, image_tree)
    image_tree(images / "val", 2, suffix=".JPEG")
    (tmp_path / "LOC_val_solution.csv").write_text(
        "ImageId,PredictionString\nimage_0001,n01 1 2 3 4 n01 5 6 7 8 \nimage_0000,n03 1 2 3 4 \n"
    )
    (tmp_path / "LOC_synset_mapping.txt").write_text("n01 tench, Tinca tinca\nn02 crane\nn03 crane, hoist\nn04 more\n")
    source = ImageNet(tmp_path)
    assert source.class_names() == ("tench", "crane (n02)", "crane (n03)")
    assert named(source.split("test")) == {"val/image_0000.JPEG": 2, "val/image_0001.JPEG": 0}


def test_imagenet_says_what_is_wrong(tmp_path, image_tree):
    missing = message(ImageNet(tmp_path).class_names)
    assert f"{tmp_path / 'train'} is missing or empty; get it from https://www.image-net.org" in missing
    assert "<root>/train/<wnid>/*.JPEG" in missing
    write_imagenet(tmp_path, image_tree)
    assert f"{tmp_path / 'val'} is missing" in message(lambda: ImageNet(tmp_path).split("test"))
    image_tree(tmp_path / "val", 1, suffix=".JPEG")
    assert "LOC_val_solution.csv is missing" in message(lambda: ImageNet(tmp_path).split("test"))
    (tmp_path / "LOC_val_solution.csv").write_text("ImageId,PredictionString\n")
    assert "has no line for image_0000.JPEG" in message(lambda: ImageNet(tmp_path).split("test"))
    (tmp_path / "LOC_val_solution.csv").write_text("ImageId,PredictionString\nimage_0000,n99 1 2 3 4\n")
    assert "gives the class n99" in message(lambda: ImageNet(tmp_path).split("test"))


# Tiny-ImageNet


def write_tiny_imagenet(root: Path, image_tree) -> None:
    for seed, wnid in enumerate(("n07", "n05")):
        image_tree(root / "train" / wnid / "images", 2, seed, ".JPEG")
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text("image_0000.JPEG\t0\t0\t1\t1\n")
    image_tree(root / "val" / "images", 2, 9, ".JPEG")
    (root / "wnids.txt").write_text("n07\nn05\n")
    (root / "words.txt").write_text("n05\tgoldfish, Carassius auratus\nn06\tnone\nn07\tkoala\n")
    (root / "val" / "val_annotations.txt").write_text(
        "image_0001.JPEG\tn05\t0\t0\t1\t1\nimage_0000.JPEG\tn07\t0\t0\t1\t1\n"
    )


def test_tiny_imagenet(tmp_path, image_tree):
    write_tiny_imagenet(tmp_path, image_tree)
    source = TinyImageNet(tmp_path)
    assert source.class_names() == ("goldfish", "koala")
    assert named(source.split("train")) == {
        "train/n05/images/image_0000.JPEG": 0,
        "train/n05/images/image_0001.JPEG": 0,
        "train/n07/images/image_0000.JPEG": 1,
        "train/n07/images/image_0001.JPEG": 1,
    }
    assert named(source.split("test")) == {"val/images/image_0000.JPEG": 1, "val/images/image_0001.JPEG": 0}
    assert source.split("val") is None


def test_tiny_imagenet_says_what_is_wrong(tmp_path, image_tree):
    missing = message(TinyImageNet(tmp_path).class_names)
    assert "words.txt is missing or empty; get it from http://cs231n.stanford.edu/tiny-imagenet-200.zip" in missing
    write_tiny_imagenet(tmp_path, image_tree)
    for path in (tmp_path / "train/n07/images").iterdir():
        path.unlink()
    assert "for n07: fill the folders" in message(lambda: TinyImageNet(tmp_path).split("train"))
    (tmp_path / "val/val_annotations.txt").write_text("image_0001.JPEG\tn05\t0\t0\t1\t1\n")
    assert "has no line for image_0000.JPEG" in message(lambda: TinyImageNet(tmp_path).split("test"))


# Caltech-101


def write_caltech(root: Path, image_tree) -> None:
    for seed, (name, count) in enumerate((("ant", 4), ("BACKGROUND_Google", 5), ("yin_yang", 9))):
        image_tree(root / "101_ObjectCategories" / name, count, seed, ".jpg")


def test_caltech_takes_so_many_of_each_class(tmp_path, image_tree):
    write_caltech(tmp_path, image_tree)
    source = Caltech101(tmp_path, train_per_class=3, test_per_class=4)
    assert source.class_names() == ("ant", "yin_yang")
    train, test = source.split("train"), source.split("test")
    assert np.bincount(list(named(train).values())).tolist() == [3, 3]
    assert np.bincount(list(named(test).values())).tolist() == [1, 4]
    assert set(named(train)).isdisjoint(named(test))
    assert train.image_index is test.image_index
    assert len(train.image_index) == 13


def test_caltech_folds_differ_and_are_repeatable(tmp_path, image_tree):
    write_caltech(tmp_path, image_tree)
    folds = [named(Caltech101(tmp_path, train_per_class=3, fold=fold).split("train")) for fold in (0, 1, 0)]
    assert folds[0] == folds[2] != folds[1]


def test_caltech_with_its_background(tmp_path, image_tree):
    write_caltech(tmp_path, image_tree)
    source = Caltech101(tmp_path, train_per_class=3, include_background=True)
    assert source.class_names() == ("BACKGROUND_Google", "ant", "yin_yang")
    assert np.bincount(list(named(source.split("test")).values())).tolist() == [2, 1, 6]


def test_caltech_says_what_is_wrong(tmp_path, image_tree):
    assert "101_ObjectCategories is missing or empty; get it from https://data.caltech.edu" in message(
        Caltech101(tmp_path).class_names
    )
    write_caltech(tmp_path, image_tree)
    assert (
        "class ant of caltech-101 has 4 images: 4 to train leave none for the test; at most 3 to train is possible"
        in message(lambda: Caltech101(tmp_path, train_per_class=4).split("train"))
    )
    assert "at least 1" in message(lambda: Caltech101(tmp_path, train_per_class=0))
    assert "max_train_per_class 0: at least 1" in message(lambda: Caltech101(tmp_path, max_train_per_class=0))


def test_caltechs_test_images_follow_on_the_largest_number_of_training_images(tmp_path, image_tree):
    write_caltech(tmp_path, image_tree)
    tested = [
        named(Caltech101(tmp_path, train_per_class=size, max_train_per_class=3).split("test")) for size in (1, 2, 3)
    ]
    assert tested[0] == tested[1] == tested[2]
    assert tested[2] == named(Caltech101(tmp_path, train_per_class=3).split("test"))
    assert tested[0] != named(Caltech101(tmp_path, train_per_class=1).split("test"))


# Caltech-256


def test_caltech256_in_its_official_layout(tmp_path, image_tree):
    folder = tmp_path / "256_ObjectCategories"
    for seed, (name, count) in enumerate((("002.ant", 4), ("001.zebra", 6), ("257.clutter", 5))):
        image_tree(folder / name, count, seed, ".jpg")
    image_tree(folder / "001.zebra" / "stray", 1, suffix=".jpg")
    (folder / "002.ant" / "RENAME2").write_text("")
    source = Caltech256(tmp_path, train_per_class=3, test_per_class=2)
    assert source.class_names() == ("zebra", "ant")
    train, test = source.split("train"), source.split("test")
    assert source.split("val") is None
    assert train.image_index is test.image_index
    assert len(train.image_index) == 10
    assert train.image_index.names[0] == "256_ObjectCategories/001.zebra/image_0000.jpg"
    assert np.bincount(list(named(train).values())).tolist() == [3, 3]
    assert np.bincount(list(named(test).values())).tolist() == [2, 1]
    cluttered = Caltech256(tmp_path, train_per_class=3, include_clutter=True)
    assert cluttered.class_names() == ("zebra", "ant", "clutter")
    assert (Caltech256(tmp_path).train_per_class, Caltech256(tmp_path).test_per_class) == (60, 25)  # Griffin


def test_caltech256_says_what_is_wrong(tmp_path, image_tree):
    assert "256_ObjectCategories is missing or empty; get it from https://data.caltech.edu/records/nyy15" in message(
        Caltech256(tmp_path).class_names
    )
    for name, count in (("001.zebra", 6), ("002.ant", 4)):
        image_tree(tmp_path / "256_ObjectCategories" / name, count, suffix=".jpg")
    assert message(lambda: Caltech256(tmp_path, train_per_class=4).split("train")) == (
        "class ant of caltech-256 has 4 images: 4 to train leave none for the test; at most 3 to train is possible"
    )


# CIFAR-10


def write_cifar(root: Path) -> np.ndarray:
    """Batches in the official layout, two images each."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (12, 3072), np.uint8)
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    for i, name in enumerate(names):
        batch = {"data": pixels[2 * i : 2 * i + 2], "labels": [i, (i + 5) % 10]}
        (folder / name).write_bytes(pickle.dumps(batch))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": ["airplane"]}))
    return pixels.reshape(12, 3, 32, 32)


def test_cifar10(tmp_path, monkeypatch):
    pixels = write_cifar(tmp_path)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    source = Cifar10(tmp_path)
    train, test = source.split("train"), source.split("test")
    assert named(train)["train/3"] == 6
    assert named(test) == {"test/0": 5, "test/1": 0}
    np.testing.assert_array_equal(train.image_index.read(range(10), 32).images, pixels[:10])
    some = test.image_index.take(np.array([1]))
    np.testing.assert_array_equal(some.read([0], 32).images, pixels[11:])
    assert (list(some.names), some.labels.tolist()) == (["test/1"], [0])
    assert list(some.file_states()) == list(test.image_index.file_states())[1:]


def test_cifar10_says_what_is_wrong(tmp_path):
    assert len(Cifar10(tmp_path).class_names()) == 10  # known without the images
    missing = message(lambda: Cifar10(tmp_path).split("train"))
    assert f"{tmp_path}/cifar-10-batches-py is missing" in missing
    assert "download=true" in missing
    write_cifar(tmp_path)  # not the official files: their checksums are wrong
    assert "damaged" in message(lambda: Cifar10(tmp_path).split("train"))
