"""``task=compare``: paired comparison of two finished runs on the same test images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import DictConfig

from convlens.errors import InputError
from convlens.runs.analysis import write_and_log
from convlens.runs.predictions import read_predictions
from convlens.runs.record_file import read_record
from convlens.runs.subject import open_run
from convlens.stats.paired import PairedDifference, paired_difference
from convlens.stats.results import AnalysisResult, Table

PAPER = {1: "+2.1 (40.5 against 38.4, ImageNet)", 5: "+1.6 (18.1 against 16.5, ImageNet)"}
"""AlexNet's error minus ZFNet's in Table 3, by k."""


@dataclass(frozen=True)
class Settings:
    """Settings of the task; ``conf/task/compare.yaml`` has their values and what they mean."""

    run_dirs: Sequence[str]


def run(cfg: DictConfig, overrides: list[str], settings: Settings) -> int:
    """Write ``results/compare``: the paired differences of top-1 and top-5 error."""
    if len(settings.run_dirs) != 2:
        raise InputError(
            f"task.run_dirs=[{','.join(settings.run_dirs)}]: give the directories of two finished runs, "
            "task.run_dirs=[DIR,DIR]"
        )
    first, second = (Path(directory) for directory in settings.run_dirs)
    with open_run(cfg, overrides, "compare") as run_dir:
        names = [read_record(path).get("name", path.name) for path in (first, second)]
        differences, images = compare(first, second)
        answer = [f"top-{k} error, {sentence(names, gap)}" for k, gap in differences.items()]
        result = compare_result(names, differences, images)
        write_and_log(result, run_dir / "results" / "compare", overrides, answer)
    return 0


def compare(first: Path, second: Path) -> tuple[dict[int, PairedDifference], int]:
    """Return the differences of top-1 and top-5 error between two runs, and the number of test images.

    Raises:
        InputError: a run has no test predictions, or the two were tested on different images.
    """
    one, other = read_predictions(first), read_predictions(second)
    if not one.same_images(other):
        raise InputError(
            f"{first} and {second} were tested on different images ({len(one.images)} and {len(other.images)}, "
            "or others): give two runs with the same data"
        )
    wrong = {k: [torch.from_numpy(predictions.wrong(k)) for predictions in (one, other)] for k in (1, 5)}
    return {k: paired_difference(*both) for k, both in wrong.items()}, len(one.images)


def sentence(names: Sequence[str], gap: PairedDifference) -> str:
    """Return a difference in words: value, interval, p-value and which network is better."""
    better = names[1] if gap.difference > 0 else names[0]
    verdict = f"{better} is better" if gap.decided else "can't tell which is better"
    return (
        f"{names[0]} minus {names[1]}: {gap.difference:+.2f} points, "
        f"95 % interval {gap.low:+.2f} to {gap.high:+.2f}, "
        f"McNemar p = {gap.p:.2g}: {verdict}"
    )


def compare_result(names: Sequence[str], differences: Mapping[int, PairedDifference], images: int) -> AnalysisResult:
    """Return the result for the report."""
    rows = [
        [f"top-{k} error", f"{gap.difference:+.2f}", f"{gap.low:+.2f} to {gap.high:+.2f}", f"{gap.p:.2g}", PAPER[k]]
        for k, gap in differences.items()
    ]
    columns = ["", "difference", "95 % interval", "McNemar p", "paper"]
    return AnalysisResult(
        "compare",
        f"{names[0]} against {names[1]}",
        "Table 3, AlexNet and ZFNet rows",
        f"Both networks were tested on the same {images} images. On top-1, {sentence(names, differences[1])}. One run "
        "of each: the interval covers the choice of test images, not of seeds.",
        tables=[Table(f"{names[0]} minus {names[1]}, percent points", columns, rows)],
    )
