"""``task=compare task.runs=[A,B]``: two finished runs on the same test images, paired."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig

from convlens.errors import InputError
from convlens.io.atomic import write_json
from convlens.runs.record import read_json
from convlens.runs.subject import open_run
from convlens.stats.paired import PairedDifference, paired_difference

log = logging.getLogger(__name__)


def run(cfg: DictConfig, overrides: list[str], *, runs: Sequence[str] | str) -> int:
    """Write ``results/compare`` with the paired differences of top-1 and top-5 error."""
    runs = [runs] if isinstance(runs, str) else runs
    if len(runs) != 2:
        raise InputError(f"task.runs={list(runs)}: give the directories of two finished runs, task.runs=[DIR,DIR]")
    compare(cfg, overrides, Path(runs[0]), Path(runs[1]))
    return 0


def compare(cfg: DictConfig, overrides: list[str], first: Path, second: Path) -> None:
    """The work itself."""
    with open_run(cfg, overrides, "compare") as run_dir:
        names, images, wrong = zip(*(predictions(path) for path in (first, second)), strict=True)
        if not np.array_equal(*images):
            raise InputError(
                f"{first} and {second} were tested on different images ({len(images[0])} and {len(images[1])}, "
                "or others): give two runs with the same data"
            )
        differences = {k: paired_difference(wrong[0][k], wrong[1][k]) for k in (1, 5)}
        write_json(run_dir / "results" / "compare" / "result.json", result(names, differences, len(wrong[0][1])))
        for k, gap in differences.items():
            log.info("top-%d error, %s", k, sentence(names, gap))


def predictions(path: Path) -> tuple[str, np.ndarray, dict[int, torch.Tensor]]:
    """A run's name, its test images with their labels, and which of them it got wrong at top-1 and top-5.

    Raises:
        InputError: the run has no test predictions.
    """
    file = path / "results" / "test" / "predictions.npz"
    if not file.exists():
        raise InputError(f"no test predictions at {file}: give the directory of a finished training run")
    arrays = np.load(file)
    hits = torch.from_numpy(arrays["top5"] == arrays["labels"][:, None])
    name = read_json(path / "run.json").get("name", path.name)
    images = np.char.add(np.char.add(arrays["images"], " "), arrays["labels"].astype(str))
    return name, images, {k: ~hits[:, :k].any(1) for k in (1, 5)}


def sentence(names: Sequence[str], gap: PairedDifference) -> str:
    """The difference in words."""
    better = names[1] if gap.difference > 0 else names[0]
    verdict = f"{better} is better" if gap.decided else "can't tell which is better"
    return (
        f"{names[0]} minus {names[1]}: {gap.difference:+.2f} points, "
        f"95 % interval {gap.low:+.2f} to {gap.high:+.2f}, "
        f"McNemar p = {gap.p:.2g}: {verdict}"
    )


def result(names: Sequence[str], differences: dict[int, PairedDifference], images: int) -> dict[str, Any]:
    """What the report reads."""
    paper = {1: "+2.1 (40.5 against 38.4, ImageNet)", 5: "+1.6 (18.1 against 16.5, ImageNet)"}
    rows = [
        [f"top-{k} error", f"{gap.difference:+.2f}", f"{gap.low:+.2f} to {gap.high:+.2f}", f"{gap.p:.2g}", paper[k]]
        for k, gap in differences.items()
    ]
    return {
        "analysis": "compare",
        "title": f"{names[0]} against {names[1]}",
        "reproduces": "Table 3, AlexNet and ZFNet rows",
        "order": 10,
        "text": (
            f"The same {images} test images through both. On top-1, {sentence(names, differences[1])}. One run of "
            "each: the interval covers the choice of test images, not of seeds."
        ),
        "numbers": [],
        "figures": [],
        "tables": [
            {
                "title": f"{names[0]} minus {names[1]}, percent points",
                "columns": ["", "difference", "95 % interval", "McNemar p", "paper"],
                "rows": rows,
            }
        ],
    }
