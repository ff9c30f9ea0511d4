"""The commands that are killed and given again: each makes its own folder of results in a moment."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from convlens.data.cache import build
from convlens.data.cache.store import cache_images
from convlens.data.splits.image_index import FileIndex
from tests.faults.forked import command

SMALL = ("data.source.train=48", "data.source.test=24", "model.net.width=0.1")
IMAGES = 400


@dataclass(frozen=True)
class Victim:
    """A command.

    Attributes:
        call: makes the call, given the folder that all victims share.
        results: the folder of its results, below the one it works in.
        needs_run: whether it works on a trained run.
    """

    call: Callable[[Path], Callable[[], None]]
    results: str
    needs_run: bool = False


def convlens(*arguments: str) -> Callable[[Path], Callable[[], None]]:
    return lambda shared: command(*arguments, f"cache_dir={shared / 'cache'}")


def build_a_cache(shared: Path) -> Callable[[], None]:
    def call() -> None:
        build.BLOCK = 16
        names = sorted(path.name for path in (shared / "images").iterdir())
        cache_images(FileIndex("some", names, np.zeros(len(names), np.int64), shared / "images"), 96, Path("made"))

    return call


TRAIN = (*SMALL, "recipe.max_epochs=3", "callbacks.projections.maps=2", "callbacks.evolution.maps=2", "logger=csv")
PROJECT = ("task=project", "run=run", "task.layers=[conv1,conv3]", "task.maps=4", "task.controls=2", "task.keep=true")
TRANSFER = ("task=transfer", "run=run", "task.layers=[1,3,5]", "task.images_per_class=[1,3]", "task.folds=[0,1]")
VICTIMS = {
    "train": Victim(convlens(*TRAIN, "run_dir=made"), "made"),
    "train, force": Victim(convlens(*TRAIN, "run_dir=run", "force=true"), "run", needs_run=True),
    "project": Victim(convlens(*PROJECT), "run/results/projections", needs_run=True),
    "transfer": Victim(convlens(*TRANSFER, "task.C=1"), "run/results/transfer_parts", needs_run=True),
    "occlude": Victim(
        convlens("task=occlude", "run=run", "task.images=4", "task.stride=16", "task.only_correct=false"),
        "run/results/occlusion",
        needs_run=True,
    ),
    "collect": Victim(convlens("task=collect", "sweep=."), "results/collect", needs_run=True),
    "sweep": Victim(
        convlens("-m", "seed=0,1", *SMALL, "recipe.max_epochs=1", "callbacks=none", "output_root=made", "logger=csv"),
        "made",
    ),
    "write_shards": Victim(
        convlens("task=write_shards", "data.source.train=400", "task.output=made", "run_dir=other", "task.workers=1"),
        "made",
    ),
    "cache": Victim(build_a_cache, "made"),
}


def prepare(shared: Path) -> None:
    """Write the images for the cache."""
    folder = shared / "images"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(IMAGES):
        Image.fromarray(rng.integers(0, 256, (200, 200, 3), np.uint8)).save(folder / f"{number:04d}.jpg")


def fresh(victim: Victim, folder: Path, shared: Path) -> Path:
    """Make the folder that a victim works in."""
    folder.mkdir()
    if victim.needs_run:
        shutil.copytree(shared / "run", folder / "run")
    return folder
