from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from convlens.data import ImageData, ImageFolder
from convlens.data.decode import read_square
from convlens.data.loading.crops import ten_crops
from convlens.errors import InputError

SIZE, STORED = 14, 16
GREY = [100.0, 110.0, 120.0]


@pytest.fixture
def root(tmp_path, image_tree) -> Path:
    """Two classes with 6 training and 3 test images each."""
    for seed, name in enumerate(("ant", "bee")):
        image_tree(tmp_path / "images" / "train" / name, 6, seed, size=STORED)
        image_tree(tmp_path / "images" / "test" / name, 3, 10 + seed, size=STORED)
    return tmp_path / "images"


def make(root: Path, **options) -> ImageData:
    options = {"image_size": SIZE, "batch_size": 5, "cache_dir": root.parent / "cache", "mean": GREY, **options}
    return ImageData(ImageFolder(root), **options)


def together(loader) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = zip(*loader, strict=True)
    return torch.cat(images), torch.cat(labels)


def test_the_pool_is_in_the_order_of_the_protocol(root):
    data = make(root)
    batches = list(data.pool_dataloader())
    assert [len(labels) for _, labels in batches] == [5, 5, 5, 3]  # the third is of both listings
    images, labels = together(batches)
    protocol = data.protocol
    assert labels.tolist() == protocol.labels.tolist()
    for row, name in enumerate(protocol.names):
        expected = read_square(root / name, STORED)[:, 1:15, 1:15] - np.array(GREY, np.float32)[:, None, None]
        np.testing.assert_allclose(images[row], expected, atol=1e-4)


@pytest.mark.parametrize("start", [0, 1, 11, 12, 13, 18])
def test_the_pool_can_be_gone_on_with(root, start):
    data = make(root)
    whole = together(data.pool_dataloader())[0]
    parts = [images for images, _ in data.pool_dataloader(start=start)]
    assert torch.equal(torch.cat([whole[:start], *parts]), whole)


def test_the_pool_in_ten_views(root):
    data = make(root, batch_size=20)
    batches = list(data.pool_dataloader("ten", start=10))
    assert [images.shape for images, _ in batches] == [(2, 10, 3, SIZE, SIZE)] * 4
    names = data.protocol.names
    stored = torch.from_numpy(np.stack([read_square(root / name, STORED) for name in names[10:]]))
    mean = torch.tensor(GREY)[:, None, None].expand(3, STORED, STORED).contiguous()
    assert torch.equal(together(batches)[0], ten_crops(stored, mean, SIZE))


def test_any_order_of_the_pool_can_be_asked_for(root):
    dataset = make(root).pool_dataloader().dataset
    order = [17, 0, 12, 3, 11]
    images, labels = dataset.__getitems__(order)
    for place, index in enumerate(order):
        image, label = dataset[index]
        assert torch.equal(images[place], image)
        assert labels[place] == label


def test_an_unreadable_image_keeps_its_place_and_is_in_no_split(root):
    spoilt = ["train/ant/image_0002.png", "test/bee/image_0001.png"]
    for name in spoilt:
        (root / name).write_bytes(b"")
    data = make(root)
    images, labels = together(data.pool_dataloader())
    assert len(images) == len(labels) == 18
    rows = [data.protocol.names.index(name) for name in spoilt]
    assert [bool((image == image[:, :1, :1]).all()) for image in images] == [row in rows for row in range(18)]
    train, test = data.protocol.split(None, 0)
    assert (len(train), len(test)) == (11, 5)
    assert not {*train, *test} & set(rows)
    with pytest.raises(InputError, match=r"1 of 12 images of images are unreadable: train/ant/image_0002\.png"):
        _ = make(root, on_corrupt="fatal").protocol


def test_a_limit_leaves_the_protocol_whole(root):
    data = make(root, limit=2)
    assert len(data.dataset("train")) == 2
    assert [len(rows) for rows in data.protocol.split(None, 0)] == [12, 6]


def test_excluded_images_are_in_no_split(root, tmp_path):
    names = ["train/ant/image_0000.png", "train/bee/image_0005.png", "test/ant/image_0002.png"]
    (tmp_path / "same.txt").write_text("".join(f"{name}\tn01/other.jpg\t0.99\n" for name in names) + "\n")
    data = make(root, exclude=tmp_path / "same.txt")
    data.setup()
    counts = {split: len(data.dataset(split)) for split in ("train", "val", "test")}
    assert counts == {"train": 8, "val": 2, "test": 5}
    seen = {data.image_id(split, i) for split, count in counts.items() for i in range(count)}
    assert len(seen) == 15
    assert seen.isdisjoint(names)
    train, test = data.protocol.split(None, 0)
    assert {data.protocol.names[row] for row in (*train, *test)} == seen
    assert len(together(data.pool_dataloader())[0]) == 18  # they keep their places
    assert len(list((tmp_path / "cache").glob("*/images.npy"))) == 2  # and the caches of before serve


def test_what_cannot_be_excluded_is_said(root, tmp_path):
    with pytest.raises(InputError, match=r"data\.exclude: .*none\.txt cannot be read \(No such file or directory\)"):
        make(root, exclude=tmp_path / "none.txt")
    (tmp_path / "same.txt").write_text("train/ant/image_0000.png\ntrain/ant/image_9999.png\n")
    expected = r"same\.txt has names of no image of these data: train/ant/image_9999\.png; a line begins with the path"
    data = make(root, exclude=tmp_path / "same.txt")
    with pytest.raises(InputError, match=expected):
        data.setup()
    with pytest.raises(InputError, match=expected):
        _ = data.protocol


def test_images_of_val_may_be_excluded_too(root, tmp_path, image_tree):
    image_tree(root / "val" / "ant", 2, 20)
    (tmp_path / "same.txt").write_text("val/ant/image_0001.png\n")
    data = make(root, exclude=tmp_path / "same.txt")
    assert len(data.protocol) == 18
    assert len(data.dataset("val")) == 1


def test_squeezed_images_have_a_cache_of_their_own(root, noise):
    oblong = noise(99, 2 * STORED, STORED)
    Image.fromarray(oblong).save(root / "test/ant/image_0000.png")
    cropped, squeezed = make(root), make(root, resize_mode="squeeze")
    row = cropped.protocol.names.index("test/ant/image_0000.png")
    for data, fit in ((cropped, "crop"), (squeezed, "squeeze")):
        image, _ = next(iter(data.pool_dataloader(start=row)))
        expected = read_square(root / "test/ant/image_0000.png", STORED, fit)[:, 1:15, 1:15]
        assert np.array_equal(data.to_display(image)[0], expected)
        index = [data.image_id("test", i) for i in range(6)].index("test/ant/image_0000.png")
        assert np.array_equal(data.to_display(data.dataset("test")[index][0][None])[0], expected)
    assert not torch.equal(next(iter(cropped.pool_dataloader()))[0], next(iter(squeezed.pool_dataloader(start=row)))[0])
    assert len(list((root.parent / "cache").glob("*/images.npy"))) == 4


def test_wrong_values_are_refused(root, unchecked):
    for start in (-1, 19):
        with pytest.raises(InputError, match=f"start is {start}: the pool of images has 0 to 18"):
            make(root).pool_dataloader(start=start)
    with pytest.raises(InputError, match=r"data\.resize_mode is 'stretch': choose one of crop, squeeze"):
        unchecked(ImageData, ImageFolder(root), cache_dir=root.parent / "cache", resize_mode="stretch")
