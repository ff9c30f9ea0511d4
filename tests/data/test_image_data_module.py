import pickle
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch

from convlens.data import ImageData, ImageFolder
from convlens.data.decode import read_square
from convlens.data.loading.crops import ten_crops
from convlens.data.loading.sampler import EpochSampler
from convlens.errors import InputError

SIZE, STORED = 14, 16


@pytest.fixture
def root(tmp_path, image_tree) -> Path:
    """Three classes with 10 training and 4 test images each; every image is different."""
    for seed, name in enumerate(("ant", "bee", "cow")):
        image_tree(tmp_path / "images" / "train" / name, 10, seed, size=STORED)
        image_tree(tmp_path / "images" / "test" / name, 4, 10 + seed, size=STORED)
    return tmp_path / "images"


def make(root: Path, **options) -> ImageData:
    options = {"image_size": SIZE, "batch_size": 5, "cache_dir": root.parent / "cache", **options}
    return ImageData(ImageFolder(root), **options)


def stored(root: Path, data: ImageData, split: str, index: int) -> np.ndarray:
    return read_square(root / data.image_id(split, index), STORED)


def epoch_of(data: ImageData, epoch: int) -> list[torch.Tensor]:
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return [torch.cat(parts) for parts in zip(*loader, strict=True)]


def test_classes_are_known_before_anything_is_decoded(root):
    data = make(root)
    assert (data.num_classes, data.class_names) == (3, ("ant", "bee", "cow"))
    assert not (root.parent / "cache").exists()


def test_splits_share_out_the_training_images(root):
    data = make(root)
    data.setup()
    names = {
        split: [data.image_id(split, i) for i in range(len(data.dataset(split)))] for split in ("train", "val", "test")
    }
    assert {split: len(found) for split, found in names.items()} == {"train": 27, "val": 3, "test": 12}
    assert len(set(names["train"]) | set(names["val"])) == 30
    assert sorted(name.split("/")[1] for name in names["val"]) == ["ant", "bee", "cow"]
    assert all(name.startswith("test/") for name in names["test"])


def test_only_val_depends_on_the_seed(root):
    first, other = make(root), make(root, seed=1)
    ids = [[[data.image_id(split, i) for i in range(3)] for split in ("val", "test")] for data in (first, other)]
    assert ids[0][0] != ids[1][0]
    assert ids[0][1] == ids[1][1]
    assert len(list((root.parent / "cache").glob("*/images.npy"))) == 2  # one for train and val, one for test


def test_every_beginning_of_a_split_is_spread_over_the_classes(root):
    data = make(root)
    labels = torch.cat([labels for _, labels in data.plain_dataloader("test")])
    assert all(len(set(labels[3 * i : 3 * i + 3].tolist())) == 3 for i in range(4))
    some = torch.cat([images for images, _ in data.plain_dataloader("test", limit=7)])
    every = torch.cat([images for images, _ in data.plain_dataloader("test")])
    assert torch.equal(some, every[:7])
    assert len(every) == 12


def test_the_mean_is_that_of_the_training_images_alone(root):
    data = make(root)
    expected = np.mean([stored(root, data, "train", i) for i in range(27)], axis=0, dtype=np.float64)
    torch.testing.assert_close(data.mean.double(), torch.from_numpy(expected[:, 1:15, 1:15]), atol=1e-4, rtol=0)


def test_batches_are_centre_crops_minus_the_mean(root):
    data = make(root)
    for batches in (data.val_dataloader(), data.plain_dataloader("val")):
        ((images, labels),) = list(batches)
        for i in range(3):
            expected = stored(root, data, "val", i)[:, 1:15, 1:15] - data.mean.numpy()
            np.testing.assert_allclose(images[i], expected, atol=1e-4)
            assert data.image_id("val", i).split("/")[1] == data.class_names[int(labels[i])]
    assert -255 <= images.min() < -60
    assert 60 < images.max() <= 255


def test_test_batches_have_ten_views(root):
    data = make(root, batch_size=20)
    batches = list(data.test_dataloader())
    assert [images.shape for images, _ in batches] == [(2, 10, 3, SIZE, SIZE)] * 6
    first = torch.from_numpy(np.stack([stored(root, data, "test", i) for i in range(2)]))
    mean = data.dataset("train").mean
    assert torch.equal(batches[0][0], ten_crops(first, mean, SIZE))
    single = list(make(root, test_views=1).test_dataloader())
    assert [images.shape[1:] for images, _ in single] == [(3, SIZE, SIZE)] * 3
    assert torch.equal(single[0][0][:2], ten_crops(first, mean, SIZE)[:, 4])


@pytest.mark.parametrize(("crops", "places"), [("random", 2 * 9), ("ten_fixed", 10)])
def test_training_crops_take_all_places_over_the_epochs(root, crops, places):
    data = make(root, train_crops=crops)
    image = stored(root, data, "train", 0).astype(np.float32) - data.dataset("train").mean.numpy()
    windows = [image[:, y : y + SIZE, x : x + SIZE] for y in range(3) for x in range(3)]
    if crops == "ten_fixed":
        windows = [windows[i] for i in (0, 2, 6, 8, 4)]
    candidates = [torch.from_numpy(w.copy()) for window in windows for w in (window, window[:, :, ::-1])]
    dataset = data.dataset("train", crops)
    sampler = EpochSampler(1, seed=3)
    seen = set()
    for epoch in range(150):
        sampler.set_epoch(epoch)
        crop, _ = dataset[next(iter(sampler))]
        seen.add(next(i for i, candidate in enumerate(candidates) if torch.equal(candidate, crop)))
    assert len(seen) == places


def test_an_epoch_holds_every_image_once_and_the_last_batch_is_kept(root):
    data = make(root)
    batches = list(data.train_dataloader())
    assert [len(labels) for _, labels in batches] == [5] * 5 + [2]
    assert torch.cat([labels for _, labels in batches]).bincount().tolist() == [9, 9, 9]


def test_workers_and_epochs_do_not_change_what_is_drawn(root):
    alone, helped = make(root), make(root, num_workers=2)
    torch.manual_seed(1)
    before = epoch_of(alone, 3)
    torch.manual_seed(2)
    after = epoch_of(helped, 3)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert not torch.equal(before[0], epoch_of(alone, 4)[0])


class Recorder(L.LightningModule):
    """Writes down what it is trained on."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.seen: list[tuple[int, float]] = []

    def training_step(self, batch, _):
        images, labels = batch
        self.seen.append((self.current_epoch, float((images[:, :, 0, 0].sum(1) * labels).sum())))
        return self.layer(images[:, :1, 0, 0] / 100).mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1e-9)


def fit(root: Path, epochs: int, resume: Path | None = None) -> tuple[Recorder, L.Trainer]:
    trainer = L.Trainer(
        accelerator="cpu", max_epochs=epochs, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, use_distributed_sampler=True,
    )  # fmt: skip
    recorder = Recorder()
    trainer.fit(recorder, datamodule=make(root), ckpt_path=resume)
    return recorder, trainer


def test_a_resumed_run_sees_what_an_uninterrupted_one_sees(root, tmp_path):
    whole, _ = fit(root, 3)
    first, trainer = fit(root, 2)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    second, _ = fit(root, 3, resume=tmp_path / "half.ckpt")
    assert len(whole.seen) == 18
    assert first.seen + second.seen == whole.seen
    assert len({total for _, total in whole.seen}) == 18  # no epoch repeats another


def trainer(count: int, rank: int, accumulated: int = 1):
    given = {"world_size": count, "global_rank": rank, "accumulate_grad_batches": accumulated}
    return type("Trainer", (), given)()


def test_two_processes_share_out_the_training_images(root):
    data = make(root, batch_size=4)
    indices = []
    for rank in range(2):
        data.trainer = trainer(2, rank)
        indices.append([index for index, _ in data.train_dataloader().sampler])
    data.trainer = None
    assert [len(mine) for mine in indices] == [14, 14]
    assert set(indices[0]) | set(indices[1]) == set(range(27))


def test_a_step_is_of_as_many_images_for_any_number_of_devices(root):
    data = make(root, batch_size=12)
    alone = list(data.train_dataloader().batch_sampler)
    shares = []
    for rank in range(2):
        data.trainer = trainer(2, rank, accumulated=3)
        assert data.train_dataloader().batch_size == 2
        shares.append(list(data.train_dataloader().batch_sampler))
    data.trainer = None
    first = [pair for share in shares for batch in share[:3] for pair in batch]
    assert sorted(first) == sorted(alone[0])


@pytest.mark.parametrize(
    ("count", "batch", "said"),
    [(5, 12, "cannot be divided evenly between 5 devices"), (30, 30, "30 ranks for 27 images")],
)
def test_what_cannot_be_shared_out_is_refused(root, count, batch, said):
    data = make(root, batch_size=batch)
    data.trainer = trainer(count, 0)
    with pytest.raises(InputError, match=said):
        data.train_dataloader()


def test_to_display_gives_the_image_back(root):
    data = make(root)
    images, _ = next(iter(data.plain_dataloader("test")))
    shown = data.to_display(images)
    assert shown.dtype == torch.uint8
    assert np.array_equal(shown[2], stored(root, data, "test", 2)[:, 1:15, 1:15])
    assert data.to_display(torch.full((1, 3, SIZE, SIZE), 999.0)).unique().tolist() == [255]
    assert data.to_display(torch.full((1, 3, SIZE, SIZE), -999.0)).unique().tolist() == [0]


def test_limit_decodes_only_what_it_needs(root):
    data = make(root, limit=4)
    data.setup()
    assert [len(data.dataset(split)) for split in ("train", "val", "test")] == [4, 3, 4]
    sizes = sorted(len(np.load(path)) for path in (root.parent / "cache").glob("*/images.npy"))
    assert sizes == [4, 7]
    whole = make(root)
    for split in ("train", "val", "test"):
        for i in range(3):
            assert data.image_id(split, i) == whole.image_id(split, i)
            np.testing.assert_array_equal(data.dataset(split).read_pixels([i])[0], stored(root, whole, split, i))


def test_without_val_there_is_no_loader(root):
    data = make(root, val_share=0.0)
    assert data.val_dataloader() == []
    assert len(data.dataset("train")) == 30


def spoil(root: Path, *names: str) -> None:
    for name in names:
        (root / name).write_bytes(b"")


def test_unreadable_images_are_left_out_and_named(root, caplog):
    spoil(root, "train/bee/image_0003.png", "test/cow/image_0001.png")
    data = make(root)
    data.setup()
    assert (
        "1 of 30 images of images are unreadable: train/bee/image_0003.png (empty file); they are left out"
        in caplog.text
    )
    assert (
        "1 of 12 images of images are unreadable: test/cow/image_0001.png (empty file); they are left out"
        in caplog.text
    )
    assert sum(len(data.dataset(split)) for split in ("train", "val")) == 29
    names = [data.image_id("test", i) for i in range(11)]
    assert "test/cow/image_0001.png" not in names
    images = [images for images, _ in data.plain_dataloader("test")]
    shown = data.to_display(torch.cat(images))
    for i in range(11):
        assert np.array_equal(shown[i], stored(root, data, "test", i)[:, 1:15, 1:15])


def test_unreadable_images_can_be_fatal_before_the_training(root):
    spoil(root, *(f"test/ant/image_000{i}.png" for i in range(3)))
    data = make(root, on_corrupt="fatal")
    for _ in range(2):  # the second time from the finished cache
        with pytest.raises(InputError) as caught:
            data.setup("fit")
        assert str(caught.value) == (
            "3 of 12 images of images are unreadable: test/ant/image_0000.png (empty file), "
            "test/ant/image_0001.png (empty file), test/ant/image_0002.png (empty file); "
            "repair or remove them, or set data.on_corrupt=skip"
        )


def test_a_class_without_a_readable_image_is_named(root):
    spoil(root, *(f"train/bee/image_000{i}.png" for i in range(10)))
    with pytest.raises(InputError, match="no readable training image in images for bee"):
        make(root).setup("fit")


def test_a_split_without_a_readable_image_is_named(root):
    spoil(root, *(f"test/{name}/image_000{i}.png" for name in ("ant", "bee", "cow") for i in range(4)))
    with pytest.raises(InputError, match="none of the 12 test images of images can be read"):
        make(root).setup()


def test_other_sizes_keep_the_proportion(root):
    data = make(root, image_size=7)
    images, _ = next(iter(data.plain_dataloader("test")))
    assert images.shape == (5, 3, 7, 7)
    assert data.dataset("test").read_pixels([0]).shape == (1, 3, 8, 8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train_crops": "ten"}, "data.train_crops is 'ten': choose one of random, ten_fixed"),
        ({"test_views": 5}, "data.test_views is 5: choose one of 1, 10"),
        ({"on_corrupt": "ignore"}, "data.on_corrupt is 'ignore': choose one of skip, fatal"),
        ({"image_size": 0}, "data.image_size is 0: give at least 1"),
        ({"batch_size": 0}, "data.batch_size is 0: give at least 1"),
        ({"num_workers": -1}, "data.num_workers is -1: give at least 0"),
        ({"limit": 0}, "data.limit is 0: give at least 1"),
        ({"val_share": 1.0}, "data.val_share is 1.0: give a share from 0 to below 1"),
    ],
)
def test_wrong_values_are_refused(root, unchecked, options, message):
    with pytest.raises(InputError) as caught:
        unchecked(ImageData, ImageFolder(root), **{"cache_dir": root.parent / "cache", **options})
    assert str(caught.value) == message


def test_wrong_names_are_refused(root):
    data = make(root)
    with pytest.raises(InputError, match=r"data\.split is 'dev': choose one of train, val, test, all"):
        data.plain_dataloader("dev")
    with pytest.raises(InputError, match="view='five' is unknown: choose one of random, ten_fixed, centre, ten"):
        data.dataset("test", "five")
    with pytest.raises(InputError, match="use an EpochSampler"):
        data.dataset("train", "random")[0]


def test_a_data_set_travels_without_its_pixels(root):
    dataset = make(root).dataset("test")
    before = dataset[0]
    assert len(pickle.dumps(dataset)) < 20_000
    again = pickle.loads(pickle.dumps(dataset))
    assert torch.equal(again[0][0], before[0])
    assert dataset[np.int64(0)][1] == before[1]
