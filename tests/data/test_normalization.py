"""What is subtracted and divided by, and at which size images are stored before they are cropped."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from convlens.data import ImageData, ImageFolder
from convlens.data.decode import read_square
from convlens.errors import InputError

SIZE, STORED = 12, 15
MEAN, STD = (120.0, 110.0, 100.0), (60.0, 50.0, 40.0)


@pytest.fixture
def root(tmp_path: Path, image_tree: Callable[..., list[Path]]) -> Path:
    for seed, name in enumerate(("ant", "bee")):
        image_tree(tmp_path / "images" / "train" / name, 6, seed, size=STORED)
        image_tree(tmp_path / "images" / "test" / name, 3, 10 + seed, size=STORED)
    return tmp_path / "images"


def make(root: Path, **options: object) -> ImageData:
    chosen = {"image_size": SIZE, "stored_size": STORED, "batch_size": 20, "cache_dir": root.parent / "cache"}
    return ImageData(ImageFolder(root), **{**chosen, "val_share": 0.25, **options})


def pixels(root: Path, data: ImageData, split: str) -> np.ndarray:
    """The stored squares of a split, in its order."""
    count = len(data.dataset(split))
    return np.stack([read_square(root / data.image_id(split, i), STORED) for i in range(count)]).astype(np.float64)


def literal(square: np.ndarray, top: int, left: int, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """(x - mean) / std of one window, value by value."""
    window = np.empty((3, SIZE, SIZE))
    for channel in range(3):
        for y in range(SIZE):
            for x in range(SIZE):
                window[channel, y, x] = (square[channel, top + y, left + x] - mean[channel]) / std[channel]
    return torch.from_numpy(window)


def same(found: Tensor, expected: Tensor) -> bool:
    return torch.allclose(found.double(), expected, atol=1e-4)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_centre_crops_are_pixels_less_the_mean_over_the_deviation(root, split):
    data = make(root, mean=MEAN, std=STD)
    images = torch.cat([images for images, _ in data.plain_dataloader(split)])
    for image, square in zip(images, pixels(root, data, split), strict=True):
        assert same(image, literal(square, 1, 1, MEAN, STD))


def test_validation_batches_are_normalised_too(root):
    data = make(root, mean=MEAN, std=STD)
    ((images, _),) = list(data.val_dataloader())
    assert same(images[0], literal(pixels(root, data, "val")[0], 1, 1, MEAN, STD))


def test_training_crops_are_normalised_at_their_place(root):
    data = make(root, mean=MEAN, std=STD)
    places = [(y, x) for y in range(STORED - SIZE + 1) for x in range(STORED - SIZE + 1)]
    windows = [literal(square, y, x, MEAN, STD) for square in pixels(root, data, "train") for y, x in places]
    candidates = torch.stack([w for window in windows for w in (window, window.flip(-1))]).float()
    crops = torch.cat([images for images, _ in data.train_dataloader()])
    assert len(crops) == len(data.dataset("train")) > 6
    for crop in crops:
        assert (candidates - crop).abs().flatten(1).max(1).values.min() < 1e-4


def test_ten_crops_are_normalised_at_their_places(root):
    data = make(root, mean=MEAN, std=STD, batch_size=10)
    crops, _ = next(iter(data.test_dataloader()))
    square, last = pixels(root, data, "test")[0], STORED - SIZE
    expected = [literal(square, y, x, MEAN, STD) for y, x in ((0, 0), (0, last), (last, 0), (last, last), (1, 1))]
    plain, mirrored = list(crops[0, :5]), list(crops[0, 5:])
    for window, first, second in zip(expected, plain, mirrored, strict=True):
        assert same(first, window)
        assert same(second, window.flip(-1))


def test_the_mean_image_is_divided_too(root):
    data, plain = make(root, std=STD), make(root)
    expected = pixels(root, data, "train").mean(0)[:, 1:13, 1:13]
    torch.testing.assert_close(data.mean.double(), torch.from_numpy(expected), atol=1e-4, rtol=0)
    divided, whole = (next(iter(d.plain_dataloader("test")))[0] for d in (data, plain))
    torch.testing.assert_close(divided, whole / torch.tensor(STD)[:, None, None])


@pytest.mark.parametrize("options", [{"mean": MEAN, "std": STD}, {"std": 58.0}, {"mean": [0, 0, 0], "std": 255}])
def test_to_display_takes_it_all_back(root, options):
    data = make(root, **options)
    images, _ = next(iter(data.plain_dataloader("test")))
    assert np.array_equal(data.to_display(images), pixels(root, data, "test")[:, :, 1:13, 1:13])


def test_three_numbers_are_the_mean_of_every_pixel_of_their_channel(root):
    data = make(root, mean=MEAN)
    assert data.mean.shape == (3, SIZE, SIZE)
    assert all(data.mean[channel].unique().tolist() == [MEAN[channel]] for channel in range(3))


def test_one_deviation_serves_all_three_channels(root):
    data = make(root, mean=MEAN, std=50)
    images, _ = next(iter(data.plain_dataloader("test")))
    assert same(images[0], literal(pixels(root, data, "test")[0], 1, 1, MEAN, (50.0,) * 3))


def test_by_hand(tmp_path, image_tree):
    (path, *_) = image_tree(tmp_path / "images" / "train" / "ant", 2) + image_tree(tmp_path / "images/test/ant", 1)
    data = ImageData(
        ImageFolder(tmp_path / "images"), cache_dir=tmp_path / "cache", image_size=1, stored_size=1,
        mean=(1, 2, 3), std=(2, 4, 8), val_share=0.0,
    )  # fmt: skip
    red, green, blue = read_square(path, 1).flatten().tolist()
    rows = [data.image_id("train", i) for i in range(2)]
    image, _ = data.dataset("train")[rows.index("train/ant/image_0000.png")]
    assert image.flatten().tolist() == [(red - 1) / 2, (green - 2) / 4, (blue - 3) / 8]


def test_given_numbers_spare_the_pass_over_the_training_images(root):
    data = make(root, mean=MEAN, std=STD)
    next(iter(data.plain_dataloader("test")))
    assert not list((root.parent / "cache").glob("*/mean-*.npy"))


@pytest.mark.parametrize(
    ("options", "stored"), [({"stored_size": 20}, 20), ({"stored_size": 12}, 12), ({"stored_size": None}, 14)]
)
def test_images_are_stored_at_the_size_asked_for(root, options, stored):
    data = make(root, **options)
    data.setup()
    assert data.dataset("test").read_pixels([0]).shape == (1, 3, stored, stored)
    sizes = {json.loads(path.read_text())["size"] for path in (root.parent / "cache").glob("*/meta.json")}
    assert sizes == {stored}


def test_without_room_to_move_the_crop_is_the_whole_square(root):
    data = make(root, stored_size=SIZE, mean=MEAN, std=STD)
    crops = torch.cat([images for images, _ in data.test_dataloader()])
    assert all(torch.equal(crops[0, 0], crops[0, i]) for i in range(5))
    assert all(torch.equal(crops[0, 0], crops[0, i].flip(-1)) for i in range(5, 10))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mean": (1.0, 2.0)}, "data.mean is (1.0, 2.0): give train, a file (npy), or three numbers"),
        ({"mean": "imagenet"}, "data.mean is imagenet: give train, a file (npy), or three numbers"),
        (
            {"mean": [1.0, 2.0, 3.0, 4.0]},
            "data.mean is [1.0, 2.0, 3.0, 4.0]: give train, a file (npy), or three numbers",
        ),
        (
            {"mean": "nowhere.npy"},
            "data.mean is nowhere.npy, which cannot be read ([Errno 2] No such file or directory: 'nowhere.npy'): "
            "give an npy file",
        ),
        ({"std": (1.0, 2.0)}, "data.std is (1.0, 2.0): give one number or three numbers"),
        ({"std": 0.0}, "data.std is 0.0: give numbers above 0"),
        ({"std": (1.0, -1.0, 1.0)}, "data.std is (1.0, -1.0, 1.0): give numbers above 0"),
        ({"std": float("nan")}, "data.std is nan: give finite numbers"),
        ({"stored_size": 11}, "data.stored_size is 11: give at least 12"),
        ({"mean": (float("nan"), 0.0, 0.0)}, "data.mean is (nan, 0.0, 0.0): give finite numbers"),
        ({"std": float("inf")}, "data.std is inf: give finite numbers"),
    ],
)
def test_wrong_values_are_refused_in_one_line(root, options, message):
    with pytest.raises(InputError) as caught:
        make(root, **options)
    assert str(caught.value) == message
