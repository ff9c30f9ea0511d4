"""Time of training batches: shards against the JPEG files of a folder, with the same workers."""

import statistics
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

from convlens.data import ImageData, ImageFolder, ShardedData
from convlens.data.shards.writer import write_shards
from tests.bench.cache import BATCH, DATA, decoding_loader
from tests.bench.timing import row

NAME, SIZE, CROP, WORKERS, ROUNDS = "imagenette-224-subset", 256, 224, 1, 5


def seconds(loader: Iterable, data: ShardedData | None = None) -> float:
    """Return the time of an image in an epoch, without the start of the workers, which is short in a long epoch.

    Images of shards are cropped as on the network's device.
    """
    start, count = 0.0, 0
    for batch in loader:
        images = data.on_after_batch_transfer(batch, 0)[0] if data else batch[0]
        assert images.shape[1:] == (3, CROP, CROP)
        if start:
            count += len(images)
        else:
            start = time.perf_counter()
    return (time.perf_counter() - start) / count


def run() -> list[dict]:
    """Return one row if the images exist, else none."""
    if not (DATA / NAME).exists():
        return []
    with tempfile.TemporaryDirectory() as folder:
        source = ImageFolder(DATA / NAME / "train", test_share=0.01)
        images = ImageData(source, cache_dir=folder, image_size=CROP, stored_size=SIZE, val_share=0.0)
        packed = Path(folder) / "shards"
        write_shards(images.splits(), images.class_names, packed, size=SIZE, shard_bytes="64MB", workers=WORKERS)
        data = ShardedData(str(packed), image_size=CROP, batch_size=BATCH, num_workers=WORKERS)
        state = {"world_size": 1, "global_rank": 0, "accumulate_grad_batches": 1, "training": True, "current_epoch": 0}
        progress = SimpleNamespace(batch_progress=SimpleNamespace(current=SimpleNamespace(ready=0)))
        data.trainer = SimpleNamespace(**state, fit_loop=SimpleNamespace(epoch_loop=progress))  # type: ignore[assignment]
        files = decoding_loader(DATA / NAME / "train", CROP, workers=WORKERS)
        times = [(seconds(data.train_dataloader(), data), seconds(files)) for _ in range(ROUNDS)]
    ours, reference = (statistics.median(column) for column in zip(*times, strict=True))
    rate = f"{1 / ours:.0f} against {1 / reference:.0f} images a second"
    note = f"squares of {SIZE} px, crops of {CROP}, {WORKERS} worker, median of {ROUNDS}; {rate}"
    return [row("an image from shards", ours, reference, 3.0, note)]
