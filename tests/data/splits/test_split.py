from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from convlens.data.splits.image_index import FileIndex
from convlens.data.splits.split import Split, class_balanced, held_out_mask, rank_in_class, split_per_class

LABELS = st.lists(st.integers(0, 3), min_size=1, max_size=40)


def whole(labels: list[int]) -> Split:
    names = [f"{label}/image_{i}.jpg" for i, label in enumerate(labels)]
    return Split(FileIndex("test", names, np.array(labels), Path()), np.arange(len(labels)))


@given(labels=LABELS, data=st.data())
def test_rank_follows_from_the_names_whatever_their_order(labels, data):
    names = [f"image_{i}" for i in range(len(labels))]
    ranks = dict(zip(names, rank_in_class(names, np.array(labels), "salt").tolist(), strict=True))
    order = data.draw(st.permutations(range(len(labels))))
    again = rank_in_class([names[i] for i in order], np.array(labels)[order], "salt")
    assert again.tolist() == [ranks[names[i]] for i in order]
    for label in set(labels):
        of_class = sorted(ranks[name] for name, other in zip(names, labels, strict=True) if other == label)
        assert of_class == list(range(len(of_class)))


def test_another_salt_is_another_order():
    names, labels = [f"image_{i}" for i in range(30)], np.zeros(30, np.int64)
    assert rank_in_class(names, labels, "a").tolist() != rank_in_class(names, labels, "b").tolist()


@given(labels=LABELS)
def test_every_beginning_of_a_balanced_order_is_spread_over_the_classes(labels):
    split = class_balanced(whole(labels), "salt")
    assert sorted(split.rows.tolist()) == list(range(len(labels)))
    totals = np.bincount(labels, minlength=4)
    for k in range(1, len(labels) + 1):
        seen = np.bincount(np.array(labels)[split.rows[:k]], minlength=4)
        # A class has fewer images than another only if it has no more.
        assert (seen >= np.minimum(totals, seen.max() - 1)).all()


def test_held_out_counts_by_hand():
    labels = np.repeat([0, 1, 2, 3], [10, 4, 2, 1])  # a tenth: 1 of 10, the least 1 of 4 and of 2, none of a single one
    held = held_out_mask([str(i) for i in range(17)], labels, 0.1, "salt")
    assert np.bincount(labels[held], minlength=4).tolist() == [1, 1, 1, 0]
    most = held_out_mask([str(i) for i in range(17)], labels, 0.99, "salt")
    assert np.bincount(labels[most], minlength=4).tolist() == [9, 3, 1, 0]


@given(labels=LABELS, share=st.floats(0, 0.99))
def test_sharing_out_loses_and_repeats_nothing(labels, share):
    kept, held = split_per_class(whole(labels), share, "salt")
    assert sorted([*kept.rows.tolist(), *held.rows.tolist()]) == list(range(len(labels)))
    assert set(np.array(labels)[kept.rows]) == set(labels)
    if share == 0:
        assert not len(held.rows)


def test_a_new_image_leaves_the_others_in_their_order():
    names = [f"image_{i}" for i in range(20)]
    before = np.argsort(rank_in_class(names, np.zeros(20, np.int64), "salt"))
    after = np.argsort(rank_in_class([*names, "new"], np.zeros(21, np.int64), "salt"))
    assert [i for i in after.tolist() if i != 20] == before.tolist()


def test_an_index_is_shown_without_its_images(tmp_path):
    names = [f"{i}.png" for i in range(1000)]
    image_index = FileIndex("photos", names, np.zeros(1000, np.int64), tmp_path)
    assert repr(image_index) == "FileIndex(photos: 1000 images, crop)"
