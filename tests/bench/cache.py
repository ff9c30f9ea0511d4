"""Time of an epoch of training batches: the cache of decoded images against decoding the JPEG files each time."""

import statistics
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from torchvision import datasets
from torchvision.transforms import v2

from convlens.data import ImageData, ImageFolder
from convlens.data.loading.crops import default_stored_size
from tests.bench.timing import row

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
BATCH, ROUNDS = 128, 5
CASES = {"imagenette-224-subset": 224, "tiny-imagenet-200-subset": 56}


def decoding_loader(train: Path, image_size: int, workers: int = 0) -> DataLoader:
    """Return the usual torchvision loader: open, resize, crop, mirror, convert to a tensor."""
    steps = [
        v2.Resize(default_stored_size(image_size)),
        v2.RandomCrop(image_size),
        v2.RandomHorizontalFlip(),
        v2.PILToTensor(),
        v2.ToDtype(torch.float32, scale=True),
    ]
    return DataLoader(datasets.ImageFolder(train, v2.Compose(steps)), BATCH, shuffle=True, num_workers=workers)


def seconds(loader: Iterable) -> float:
    """Return the time of one epoch."""
    start = time.perf_counter()
    for _ in loader:
        pass
    return time.perf_counter() - start


def compare(name: str, image_size: int, cache_dir: str) -> dict:
    """Return the median times of the two epochs, measured in turn."""
    source = ImageFolder(DATA / name / "train", test_share=0.01)
    data = ImageData(source, image_size=image_size, batch_size=BATCH, val_share=0.0, cache_dir=cache_dir)
    ours, reference = data.train_dataloader(), decoding_loader(DATA / name / "train", image_size)
    times = [(seconds(ours), seconds(reference)) for _ in range(ROUNDS)]
    per_image = [
        statistics.median(column) / count
        for column, count in zip(zip(*times, strict=True), (len(ours.sampler), len(reference.dataset)), strict=True)
    ]
    total = len(ours.sampler)
    note = f"{total} images, cache against JPEG decoding, batch {BATCH}, no workers, median of {ROUNDS}"
    return row(f"epoch of {name} at {image_size} px", per_image[0] * total, per_image[1] * total, 5.0, note)


def run() -> list[dict]:
    """Return a row for each data set that exists."""
    with tempfile.TemporaryDirectory() as cache_dir:
        return [compare(name, size, cache_dir) for name, size in CASES.items() if (DATA / name).is_dir()]
