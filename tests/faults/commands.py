"""A small command for each task, the folder it needs, and what it leaves there."""

import json
import shutil
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from tests.tasks.conftest import SMALL_DATA
from tests.tasks.test_study_task import part

PHOTOS = ("data=image_folder", "data.source.root=photos", "data.image_size=48")
QUICK = ("callbacks=none", "recipe.max_epochs=1")
PARTS = ",".join(
    [
        part("train one", "one", "task=train", "model=zfnet"),
        part("diagnose one", "one", "task=diagnose", "run={one}", "task.images=2", result="filters"),
    ]
)
DRAWN = [f"callbacks.{name}.maps=1" for name in ("projections", "evolution")]
COMMANDS: dict[str, tuple[str, ...]] = {
    "train": (*SMALL_DATA[:-1], *DRAWN, "recipe.max_epochs=1", "run_dir=out"),
    "force": (*SMALL_DATA[:-1], *QUICK, "run_dir=run", "force=true"),
    "tensorboard": (*SMALL_DATA[:-1], *QUICK, "logger=tensorboard", "run_dir=out"),
    "project": ("task=project", "run=run", "task.maps=1", "task.k=2", "task.layers=[conv1,conv3]"),
    "occlude": (
        *("task=occlude", "run=run", "task.images=2", "task.only_correct=false", "task.stride=16"),
        *("task.num_examples=1", "task.search_images=4"),
    ),
    "invariance": (
        *("task=invariance", "run=run", "task.images=2", "task.only_correct=false", "task.steps=5"),
        *("task.layers=[conv1,fc7]", "task.num_examples=1"),
    ),
    "correspond": ("task=correspond", "run=run", "task.images=4", "task.num_examples=1"),
    "diagnose": ("task=diagnose", "task.run_dirs=[run,other]", "task.images=3", "task.shift_images=2", "run_dir=out"),
    "compare": ("task=compare", "task.run_dirs=[run,other]", "run_dir=out"),
    "ensemble": ("task=ensemble", "task.run_dirs=[run,other]", "run_dir=out"),
    "collect": ("task=collect", "sweep=."),
    "report": ("task=report", "task.run_dirs=[run,other]", "run_dir=out"),
    "transfer": (
        *("task=transfer", "run=run", "task.layers=[1,5]", "task.images_per_class=[1]", "task.folds=[0]"),
        *("task.C=1", "task.features=kept"),
    ),
    "duplicates": ("task=duplicates", *PHOTOS, "run_dir=out"),
    "write_shards": ("task=write_shards", *PHOTOS, "task.output=packed", "task.workers=1"),
    "cache": (*PHOTOS, *QUICK, "model.net.width=0.1", "run_dir=out", "data.val_share=0.2"),
    "study": ("task=study", *SMALL_DATA[:-1], *QUICK, f"task.parts=[{PARTS}]", "run_dir=out"),
    "sweep": ("-m", *SMALL_DATA[:-1], *QUICK, "output_root=outputs", "seed=0,1"),
}
"""Arguments by name: the tasks, the cache of decoded images, a sweep, and trainings with a logger or ``force=true``."""
OWN_CACHE = {"cache", "duplicates", "write_shards"}
"""Commands whose images are decoded anew each time, into the folder ``decoded``."""


def prepare(folder: Path, trained: Path) -> None:
    """Make the folder that the commands are given in: two finished runs and a few photos."""
    for name in ("run", "other"):
        shutil.copytree(trained, folder / name)
    for number in range(12):
        path = folder / "photos" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).resize((60, 60)).save(path)


def arguments_of(name: str) -> tuple[str, ...]:
    """The arguments of a command, with a cache of its own where it has one."""
    return (*COMMANDS[name], *(["cache_dir=decoded"] if name in OWN_CACHE else []))


def results(folder: Path) -> dict[str, object]:
    """What a command has left: values of each file that do not depend on the time, by path."""
    logs = ("run.log", "multirun.yaml")  # they and the records of a sweep hold times and processes
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in logs]
    paths = [path for path in paths if "sweeps" not in path.parts and ".lock" not in path.name]
    return {_name(path.relative_to(folder)): _content(path, str(folder)) for path in paths}


def _name(path: Path) -> str:
    return str(path.parent / "events") if path.name.startswith("events.out") else str(path)


def _content(path: Path, folder: str) -> object:
    if path.suffix == ".json":
        return _timeless(json.loads(path.read_text().replace(folder, "FOLDER")))
    if path.suffix == ".npz":
        with np.load(path) as file:
            return {name: file[name].tolist() for name in file.files}
    if path.suffix == ".npy":
        return np.load(path).tobytes()
    if path.suffix == ".ckpt":
        state = torch.load(path, weights_only=True)["state_dict"]
        return {name: value.tolist() for name, value in state.items()}
    if path.suffix in (".html", ".md", ".bin", ".csv") or "events.out" in path.name:
        return None  # most say how long something took
    return path.read_bytes()


def _timeless(value: object) -> object:
    if isinstance(value, dict):
        value = value | ({"files": sorted({_name(Path(name)) for name in value["files"]})} if "files" in value else {})
        hidden = ("seconds", "checksum", "states", "crc32", "author", "shards", "updated_at")
        return {key: _timeless(inner) for key, inner in value.items() if key not in hidden}
    if isinstance(value, list):
        return [_timeless(inner) for inner in value]
    return "finished" if value == "reused" else value


def leftovers(folder: Path) -> list[str]:
    """Return the files that are half-written, by their names."""
    ends = (".partial", ".tmp", ".holder")
    found = [path for path in folder.rglob("*") if path.name.endswith(ends) or path.name.startswith("tmp")]
    return [str(path.relative_to(folder)) for path in found]
