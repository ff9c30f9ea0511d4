from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convlens.data import Caltech101, ImageFolder, PartsImages, PointedImages
from convlens.data.splits.export import write_splits
from convlens.data.splits.folds import FixedSplit, HeldOutFolds, RandomFolds, fixed_split
from convlens.data.splits.image_index import FileIndex
from convlens.data.splits.split import Split, rank_in_class
from convlens.errors import InputError

COUNTS = st.lists(st.integers(3, 9), min_size=2, max_size=4)
CLASSES = ("ant", "bee", "cow", "doe")


def image_index(counts: list[int], title: str = "zoo", order: np.ndarray | None = None) -> FileIndex:
    labels = np.repeat(np.arange(len(counts)), counts)
    names = [f"{CLASSES[label]}/{i}.jpg" for i, label in enumerate(labels)]
    order = np.arange(len(labels)) if order is None else order
    return FileIndex(title, [names[i] for i in order], labels[order], Path())


def random_folds(
    counts: list[int], train: int = 2, test: int = 3, order: np.ndarray | None = None, most: int | None = None
) -> RandomFolds:
    return RandomFolds(
        image_indexes=(image_index(counts, order=order),), class_names=CLASSES[: len(counts)], salt="zoo",
        train_per_class=train, test_per_class=test, max_train_per_class=most,
    )  # fmt: skip


def held_out_folds(counts: list[int], share: float = 0.3) -> HeldOutFolds:
    pool = image_index(counts)
    return HeldOutFolds(image_indexes=(pool,), class_names=CLASSES[: len(counts)], salt="test", test_share=share)


def fixed(counts: list[int], test_counts: list[int]) -> FixedSplit:
    train, test = image_index(counts), image_index(test_counts, "zoo-test")
    return fixed_split(
        Split(train, np.arange(len(train))), Split(test, np.arange(len(test))), CLASSES[: len(counts)]
    )  # fmt: skip


def message(call) -> str:
    with pytest.raises(InputError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_fold_by_hand():
    # Rows 0 to 3 are ants, 4 to 6 bees. The numbers of the names, blake2b of "zoo 0/<name>" with 8 bytes, the first the
    # least significant, put the ants in the order 0, 1, 2, 3 and the bees in the order 6, 4, 5.
    protocol = random_folds([4, 3], train=1, test=2)
    train, test = protocol.split(2, 0)
    assert train.tolist() == [0, 6, 1, 4]
    assert test.tolist() == [2, 3, 5]
    train, test = protocol.split(None, 0)
    assert train.tolist() == [0, 6]
    assert test.tolist() == [1, 2, 4, 5]  # two of each class at most
    assert protocol.without(np.array([0, 4])).split(1, 0)[0].tolist() == [1, 6]


def test_the_order_of_the_file_system_and_of_the_classes_does_not_matter():
    order = np.random.default_rng(0).permutation(16)
    here, there = random_folds([9, 7]), random_folds([9, 7], order=order)
    for fold in range(3):
        for mine, other in zip(here.split(2, fold), there.split(2, fold), strict=True):
            assert {here.names[row] for row in mine} == {there.names[row] for row in other}
    assert [here.names[row] for row in here.split(2, 1)[0]] == [there.names[row] for row in there.split(2, 1)[0]]


def test_folds_differ_and_are_repeatable():
    protocol = random_folds([9, 9])
    folds = [protocol.split(3, fold)[0].tolist() for fold in (0, 1, 0)]
    assert folds[0] == folds[2] != folds[1]


@settings(deadline=None)
@given(counts=COUNTS, fold=st.integers(0, 5), test=st.integers(1, 4), data=st.data())
def test_random_folds_are_disjoint_and_as_large_as_asked(counts, fold, test, data):
    protocol = random_folds(counts, test=test)
    smaller, larger = sorted(data.draw(st.tuples(*[st.integers(1, min(counts) - 1)] * 2)))
    train, tested = protocol.split(larger, fold)
    assert set(train).isdisjoint(tested)
    assert (np.bincount(protocol.labels[train]) == larger).all()
    assert np.bincount(protocol.labels[tested]).tolist() == [min(test, count - larger) for count in counts]
    few, _ = protocol.split(smaller, fold)
    assert few.tolist() == train[: len(few)].tolist()


@settings(deadline=None)
@given(counts=COUNTS, fold=st.integers(0, 5), test=st.integers(1, 4), data=st.data())
def test_the_test_images_are_the_same_for_all_numbers_of_training_images(counts, fold, test, data):
    most = data.draw(st.integers(1, min(counts) - 1))
    protocol = random_folds(counts, train=1, test=test, most=most)
    every = [protocol.split(size, fold) for size in range(1, most + 1)]
    assert len({tuple(tested) for _, tested in every}) == 1
    largest, tested = every[-1]
    assert set(largest).isdisjoint(tested)
    assert np.bincount(protocol.labels[tested]).tolist() == [min(test, count - most) for count in counts]
    # Those that train are what they are without a largest number, and so are the test images of that number.
    free = random_folds(counts, train=1, test=test)
    for size, (train, _) in enumerate(every, 1):
        assert train.tolist() == free.split(size, fold)[0].tolist() == largest[: len(train)].tolist()
    assert tested.tolist() == free.split(most, fold)[1].tolist()
    assert protocol.split(None, fold)[1].tolist() == tested.tolist()


@settings(deadline=None)
@given(counts=COUNTS, fold=st.integers(0, 5), share=st.floats(0.05, 0.6), data=st.data())
def test_a_held_out_share_is_the_same_for_every_size(counts, fold, share, data):
    protocol = held_out_folds(counts, share)
    train, test = protocol.split(None, fold)
    assert sorted([*train, *test]) == list(range(sum(counts)))
    size = data.draw(st.integers(1, int(np.bincount(protocol.labels[train]).min())))
    few, again = protocol.split(size, fold)
    assert again.tolist() == test.tolist()
    assert few.tolist() == train[: len(few)].tolist()
    assert (np.bincount(protocol.labels[few]) == size).all()


@settings(deadline=None)
@given(counts=COUNTS, fold=st.integers(0, 5), data=st.data())
def test_own_lists_are_kept(counts, fold, data):
    protocol = fixed(counts, [2] * len(counts))
    total = sum(counts)
    whole, test = protocol.split(None, 0)
    assert sorted(whole) == list(range(total))
    assert test.tolist() == list(range(total, total + 2 * len(counts)))
    size = data.draw(st.integers(1, min(counts)))
    few, again = protocol.split(size, fold)
    assert again.tolist() == test.tolist()
    assert (np.bincount(protocol.labels[few]) == size).all()
    first, _ = protocol.split(size, 0)
    assert first.tolist() == whole[: len(first)].tolist()


def test_how_many_folds_there_are():
    protocol = fixed([3, 3], [1, 1])
    assert (protocol.folds(None), protocol.folds(2)) == (1, None)
    assert (random_folds([3, 3]).folds(None), held_out_folds([3, 3]).folds(1)) == (None, None)


def test_two_splits_of_one_listing_are_one_pool():
    pool = image_index([4, 4])
    protocol = fixed_split(Split(pool, np.array([0, 1, 4, 5])), Split(pool, np.array([2, 7])), ("ant", "bee"))
    assert (len(protocol), protocol.image_indexes) == (8, (pool,))
    assert protocol.split(None, 0)[1].tolist() == [2, 7]


def test_what_is_left_out_is_in_no_split_and_moves_nothing():
    for protocol in (random_folds([6, 6]), held_out_folds([6, 6]), fixed([6, 6], [3, 3])):
        before = protocol.split(2, 0)
        gone = np.array([before[0][0], before[1][0]])
        less = protocol.without(gone[:1]).without(gone[1:])
        train, test = less.split(2, 0)
        assert not set(gone) & {*train, *test}
        assert less.names == protocol.names
        assert len(train) == 4  # another takes its place
        assert set(before[0]) - set(gone) <= set(train)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: random_folds([4, 9]).split(4, 0), "class ant of zoo has 4 images: 4 to train leave none for the test; "
         "at most 3 to train is possible"),
        (lambda: random_folds([4, 9], most=4).split(1, 0), "class ant of zoo has 4 images: "
         "max_train_per_class=4 leaves none for the test; at most 3 to train is possible"),
        (lambda: random_folds([4, 9], most=2).split(3, 0), "3 images per class of zoo: the test images follow on the "
         "first 2 of each class; give data.source.max_train_per_class=3, too"),
        (lambda: fixed([4, 2], [1, 1]).split(3, 0), "class bee of zoo and zoo-test has 2 training images: 3 are asked "
         "for; at most 2 to train is possible"),
        (lambda: fixed([4, 0], [1, 1]).split(None, 0), "class bee of zoo and zoo-test has 0 training images: one is "
         "the least; add some, or take the class out"),
        (lambda: held_out_folds([4, 9], 0.5).split(3, 0), "class ant of zoo has 2 training images: 3 are asked for; "
         "at most 2 to train is possible"),
        (lambda: fixed([4, 4], [0, 0]).split(1, 0), "zoo and zoo-test has no image to test: every image is trained on "
         "or left out; add some"),
        (lambda: random_folds([4, 4]).split(0, 0), "images_per_class is 0: give at least 1"),
        (lambda: random_folds([4, 4]).split(1, -1), "fold -1 of zoo with 1 images per class: give a number from 0"),
        (lambda: fixed([4, 4], [1, 1]).split(None, 1), "fold 1 of zoo and zoo-test with all training images: give 0"),
        (lambda: random_folds([4]), "a classifier needs two classes to train on, zoo has only ant: add another"),
    ],
)  # fmt: skip
def test_what_is_impossible_is_said(call, expected):
    assert message(call) == expected


def test_training_images_of_one_class_are_said_where_there_are_targets():
    protocol = fixed([4, 0], [1, 1])
    several = replace(protocol, targets=np.ones((len(protocol), 2), np.int8))
    assert message(lambda: several.split(None, 0)).endswith("zoo and zoo-test has only ant: add another")


# Sources


def trees(root: Path, image_tree, below: str = "", counts=(("ant", 6), ("bee", 9))) -> None:
    for seed, (name, count) in enumerate(counts):
        image_tree(root / below / name, count, seed, ".jpg")


@pytest.mark.parametrize("fold", [0, 3])
def test_a_protocol_of_caltech_gives_what_its_splits_give(tmp_path, image_tree, fold):
    trees(tmp_path, image_tree, "101_ObjectCategories")
    source = Caltech101(tmp_path, train_per_class=2, test_per_class=3, fold=fold)
    for protocol in (source.protocol(), Caltech101(tmp_path, test_per_class=3).protocol()):
        train, test = protocol.split(2, fold)
        assert sorted(train) == source.split("train").rows.tolist()
        assert test.tolist() == source.split("test").rows.tolist()
    assert source.protocol().class_names == ("ant", "bee")
    # The rows of before there were protocols: hashes of "caltech-101 <fold>/<name>".
    ranks = rank_in_class(source.protocol().names, source.protocol().labels, f"caltech-101 {fold}")
    assert sorted(train) == np.flatnonzero(ranks < 2).tolist()
    assert test.tolist() == np.flatnonzero((ranks >= 2) & (ranks < 5)).tolist()


def test_a_protocol_of_an_undivided_folder_gives_what_its_splits_give(tmp_path, image_tree):
    trees(tmp_path, image_tree)
    source = ImageFolder(tmp_path, test_share=0.3, seed=2)
    train, test = source.protocol().split(None, 2)
    assert sorted(train) == source.split("train").rows.tolist()
    assert test.tolist() == source.split("test").rows.tolist()
    assert source.protocol().split(None, 1)[1].tolist() != test.tolist()


def test_a_protocol_of_a_divided_folder_is_its_own(tmp_path, image_tree):
    trees(tmp_path, image_tree, "train")
    trees(tmp_path, image_tree, "test", (("ant", 1), ("bee", 2)))
    protocol = ImageFolder(tmp_path).protocol()
    train, test = protocol.split(None, 0)
    assert (len(train), len(test), protocol.targets) == (15, 3, None)
    assert all(protocol.names[row].startswith("test/") for row in test)


def test_a_protocol_of_the_built_in_images():
    protocol = PartsImages(train=24, test=10).protocol()
    train, test = protocol.split(1, 0)
    assert [protocol.names[row] for row in test] == [f"parts/{1_000_000 + i}" for i in range(10)]
    assert sorted(protocol.labels[train]) == list(range(len(protocol.class_names)))


def test_images_of_one_kind_have_no_protocol(tmp_path):
    (tmp_path / "parts.csv").write_text("file,eye_x,eye_y,bbox_x1,bbox_y1,bbox_x2,bbox_y2\na.png,1,2,0,0,9,9\n")
    assert "needs two classes to train on" in message(PointedImages(tmp_path).protocol)


# Lists to hand on


def test_splits_are_written_as_lists(tmp_path):
    protocol = random_folds([4, 5], train=1, test=2)
    assert write_splits(protocol, tmp_path / "splits", [1, 2], folds=2) == [(1, 0), (1, 1), (2, 0), (2, 1)]
    train, test = protocol.split(2, 1)
    folder = tmp_path / "splits" / "2_per_class" / "fold_1"
    for name, rows in (("train", train), ("test", test)):
        lines = (folder / f"{name}.txt").read_text().splitlines()
        assert lines == [f"{protocol.names[row]}\t{protocol.class_names[protocol.labels[row]]}" for row in rows]
    assert len(list((tmp_path / "splits").rglob("*"))) == 2 + 4 + 8


def test_whole_lists_are_written_once(tmp_path):
    assert write_splits(fixed([3, 3], [1, 1]), tmp_path, [None, 1], folds=2) == [(None, 0), (1, 0), (1, 1)]
    assert len((tmp_path / "all/fold_0/train.txt").read_text().splitlines()) == 6


def test_nothing_is_written_if_something_is_impossible(tmp_path):
    with pytest.raises(InputError, match="class ant of zoo has 4 images"):
        write_splits(random_folds([4, 5]), tmp_path / "splits", [1, 4], folds=1)
    assert not (tmp_path / "splits").exists()
    with pytest.raises(InputError, match="folds is 0: give at least 1"):
        write_splits(random_folds([4, 5]), tmp_path, [1], folds=0)
