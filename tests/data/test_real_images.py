import pytest
import torch

from convlens.data import Caltech101, ImageData, ImageNet, TinyImageNet
from convlens.errors import InputError

pytestmark = pytest.mark.slow


def test_tiny_imagenet(shared_data, tmp_path):
    data = ImageData(
        TinyImageNet(shared_data / "tiny-imagenet-200-subset"),
        image_size=56,
        limit=48,
        cache_dir=tmp_path,
        on_corrupt="fatal",
    )
    assert data.num_classes == 24
    assert {"Chihuahua", "goldfish", "espresso"} < set(data.class_names)
    assert [len(data.source.split(split).rows) for split in ("train", "test")] == [12_000, 1_200]
    images, labels = next(iter(data.train_dataloader()))
    assert images.shape == (48, 3, 56, 56)
    assert labels.bincount().tolist() == [2] * 24
    assert -200 < images.mean(dim=(0, 2, 3)).min() < images.mean(dim=(0, 2, 3)).max() < 200
    assert 40 < images.std() < 100  # the range that the paper's learning rate and clipping are made for


def test_imagenette_in_the_layout_of_imagenet(shared_data, tmp_path):
    data = ImageData(ImageNet(shared_data / "imagenette-224-subset"), limit=20, cache_dir=tmp_path, on_corrupt="fatal")
    assert [len(data.source.split(split).rows) for split in ("train", "test")] == [1_000, 400]
    ids = [data.image_id("test", i) for i in range(20)]
    assert sorted(path.split("/")[1] for path in ids) == sorted(2 * list(data.class_names))
    assert data.mean.shape == (3, 224, 224)
    assert all(60 < channel < 180 for channel in data.mean.mean(dim=(1, 2)))


@pytest.mark.parametrize(("background", "classes", "images"), [(False, 101, 8_677), (True, 102, 9_144)])
def test_caltech(shared_data, tmp_path, background, classes, images):
    source = Caltech101(shared_data / "caltech101", include_background=background)
    train, test = source.split("train"), source.split("test")
    assert (len(source.class_names()), len(train.image_index)) == (classes, images)
    assert torch.from_numpy(train.image_index.labels[train.rows]).bincount().tolist() == [30] * classes
    per_class = torch.from_numpy(test.image_index.labels[test.rows]).bincount()
    assert (per_class.min(), per_class.max()) == (1, 50)
    data = ImageData(source, image_size=112, limit=classes, cache_dir=tmp_path, on_corrupt="fatal")
    _, labels = next(iter(data.plain_dataloader("test")))
    assert labels.tolist() == list(range(classes))


def test_folds_of_caltech(shared_data):
    protocol = Caltech101(shared_data / "caltech101").protocol()
    assert len(protocol) == 8_677
    for size, tested in ((15, (16, 50)), (30, (1, 50))):
        folds = [protocol.split(size, fold) for fold in range(5)]
        assert all(len(train) == 101 * size for train, _ in folds)
        assert len({tuple(train) for train, _ in folds}) == 5
        counts = [torch.from_numpy(protocol.labels[test]).bincount() for _, test in folds]
        assert {(int(count.min()), int(count.max())) for count in counts} == {tested}
    kept = Caltech101(shared_data / "caltech101", max_train_per_class=30).protocol()
    for fold in range(5):
        tests = [kept.split(size, fold)[1].tolist() for size in (1, 5, 15, 30)]
        assert all(test == tests[0] for test in tests)
        assert tests[0] == protocol.split(30, fold)[1].tolist()
        assert len(tests[0]) == 2_945
    own = Caltech101(shared_data / "caltech101", train_per_class=15, fold=3)
    train, test = protocol.split(15, 3)
    assert sorted(train) == own.split("train").rows.tolist()
    assert test.tolist() == own.split("test").rows.tolist()
    with pytest.raises(InputError, match="class inline_skate of caltech-101 has 31 images: 31 to train leave none"):
        protocol.split(31, 0)
