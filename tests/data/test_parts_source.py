import numpy as np
import pytest
import torch

from convlens.data import ImageData, PartsImages
from convlens.data.parts import CLASS_NAMES, render_images
from convlens.errors import InputError


def test_the_cache_holds_the_rendered_images(tmp_path):
    data = ImageData(PartsImages(seed=5, train=20, test=10), image_size=28, cache_dir=tmp_path)
    assert data.class_names == tuple(CLASS_NAMES)
    for split in ("train", "val", "test"):
        dataset = data.dataset(split)
        indices = [int(data.image_id(split, i).removeprefix("parts/")) for i in range(len(dataset))]
        images, labels = render_images(indices, seed=5, size=32)
        assert torch.equal(dataset.stored(range(len(dataset))), images)
        assert torch.equal(dataset.labels, labels)


def test_training_and_test_images_are_different_whatever_their_numbers():
    splits = [PartsImages(train=train, test=50).split for train in (20, 3000)]
    names = [[set(split(name).listing.names) for name in ("train", "test")] for split in splits]
    assert names[0][1] == names[1][1]
    assert names[1][0].isdisjoint(names[1][1])
    assert names[0][0] < names[1][0]


def test_every_class_has_as_many_images():
    labels = PartsImages(train=40 * len(CLASS_NAMES), test=10).split("train").listing.labels
    counts = np.bincount(labels, minlength=len(CLASS_NAMES))
    assert counts.min() >= 20


def test_the_seed_of_the_images_makes_another_cache(tmp_path):
    for seed in (0, 1):
        ImageData(PartsImages(seed=seed, train=12, test=2), image_size=14, cache_dir=tmp_path, val_share=0.0).setup()
    assert len(list(tmp_path.glob("*/images.npy"))) == 4


@pytest.mark.parametrize("numbers", [{"train": 3}, {"train": 2_000_000}, {"test": 0}])
def test_numbers_that_cannot_be_are_refused(numbers):
    with pytest.raises(InputError, match=r"parts with train=\d+, test=\d+"):
        PartsImages(**numbers)
