"""``task=compare``: paired comparison of two runs, or of two networks with several seeds, on the same test images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import DictConfig

from convlens.analysis.ablation.claims import ALEXNET, ZFNET, first_layer_claim
from convlens.errors import InputError
from convlens.runs.analysis import write_and_log
from convlens.runs.group_names import names_of
from convlens.runs.groups import Group, ablation_keys, group_runs
from convlens.runs.predictions import Predictions, read_predictions
from convlens.runs.record_file import read_record
from convlens.runs.run_directory import open_run
from convlens.stats.claims import Claim
from convlens.stats.paired import PairedDifference, paired_difference
from convlens.stats.results import AnalysisResult, Table
from convlens.stats.rules import MIN_RUNS
from convlens.stats.seed_contrast import WrongBySeed, contrast

PAPER = {1: "+2.1 (40.5 against 38.4, ImageNet)", 5: "+1.6 (18.1 against 16.5, ImageNet)"}
"""AlexNet's error minus ZFNet's in Table 3, by k."""
NAMES = {"model.name", "model.net._target_"}
"""Settings in which two networks always differ."""


@dataclass(frozen=True)
class Settings:
    """Settings of the task; ``conf/task/compare.yaml`` has their values and what they mean."""

    run_dirs: Sequence[str]


@dataclass(frozen=True)
class Side:
    """One of the two networks that are compared.

    Attributes:
        name: of its run, or of its settings.
        runs: the predictions of its runs by seed.
        group: its settings; None if they cannot be read.
    """

    name: str
    runs: Mapping[int, Predictions]
    group: Group | None

    def wrong(self, k: int) -> WrongBySeed:
        """Return by seed for which images the class was not among the k best."""
        return {seed: predictions.wrong(k) for seed, predictions in self.runs.items()}


def run(cfg: DictConfig, overrides: list[str], settings: Settings) -> int:
    """Write ``results/compare``: the paired differences of top-1 and top-5 error, and claim 20."""
    if len(settings.run_dirs) < 2:
        raise InputError(
            f"task.run_dirs=[{','.join(settings.run_dirs)}]: give the directories of two finished runs, "
            "task.run_dirs=[DIR,DIR], or of several seeds of two networks"
        )
    with open_run(cfg, overrides, "compare") as run_dir:
        sides = sides_of([Path(directory) for directory in settings.run_dirs])
        differences = {k: compare(*sides, k) for k in (1, 5)}
        answer = [f"top-{k} error, {sentence(sides, gap)}" for k, gap in differences.items()]
        write_and_log(compare_result(sides, differences), run_dir / "results" / "compare", overrides, answer)
    return 0


def sides_of(run_dirs: Sequence[Path]) -> tuple[Side, Side]:
    """Return the two networks that runs belong to: one run each, or runs that differ only in the seed.

    Raises:
        InputError: more than two runs are of other than two networks, a run cannot be read or has no test predictions,
            or two were tested on different images.
    """
    predictions = {directory: read_predictions(directory) for directory in run_dirs}
    first, *others = run_dirs
    for other in others:
        if not predictions[first].same_images(predictions[other]):
            raise InputError(
                f"{first} and {other} were tested on different images ({len(predictions[first].images)} and "
                f"{len(predictions[other].images)}, or others): give runs with the same data"
            )
    if len(run_dirs) == 2:
        return _one_run(first, predictions[first]), _one_run(others[0], predictions[others[0]])
    groups = group_runs(run_dirs)
    names = names_of(groups)
    if len(groups) != 2:
        raise InputError(
            f"task.run_dirs: {len(run_dirs)} runs of {len(groups)} kinds ({'; '.join(names)}): give two runs, or runs "
            "of two kinds that differ only in the seed"
        )
    found = [
        Side(name, {s: predictions[path] for s, path in zip(group.seeds, group.runs, strict=True)}, group)
        for name, group in zip(names, groups, strict=True)
    ]
    return found[0], found[1]


def _one_run(directory: Path, predictions: Predictions) -> Side:
    try:
        (group,) = group_runs([directory])
    except InputError:  # the comparison of its images needs no settings
        group = None
    name = str(read_record(directory).get("name", directory.name))
    return Side(name, {group.seeds[0] if group else 0: predictions}, group)


def compare(first: Side, second: Side, k: int) -> PairedDifference:
    """Return the difference of top-k error: of two runs by image, of several seeds by image and seed."""
    one, other = first.wrong(k), second.wrong(k)
    if len(one) == len(other) == 1:
        return paired_difference(*(torch.from_numpy(next(iter(wrong.values()))) for wrong in (one, other)))
    gap = contrast({"first": 1, "second": -1}, {"first": one, "second": other})
    return PairedDifference(gap.value, gap.low, gap.high, gap.p_value(0))


def sentence(sides: Sequence[Side], gap: PairedDifference) -> str:
    """Return a difference in words: value, interval, p-value and which network is better."""
    first, second = (side.name for side in sides)
    better = second if gap.difference > 0 else first
    seeds = min(len(side.runs) for side in sides)
    enough = seeds >= MIN_RUNS or all(len(side.runs) == 1 for side in sides)
    verdict = f"{better} is better" if gap.decided and enough else "can't tell which is better"
    return (
        f"{first} minus {second}: {gap.difference:+.2f} points, 95 % interval {gap.low:+.2f} to {gap.high:+.2f}, "
        f"{_test(sides)} = {gap.p:.2g}: {verdict}"
    )


def _test(sides: Sequence[Side]) -> str:
    """Return the name of the p-value."""
    return "McNemar p" if all(len(side.runs) == 1 for side in sides) else "p"


def compare_result(sides: tuple[Side, Side], differences: Mapping[int, PairedDifference]) -> AnalysisResult:
    """Return the result for the report."""
    first, second = sides
    rows = [
        [f"top-{k} error", f"{gap.difference:+.2f}", f"{gap.low:+.2f} to {gap.high:+.2f}", f"{gap.p:.2g}", PAPER[k]]
        for k, gap in differences.items()
    ]
    images = len(next(iter(first.runs.values())).images)
    seeds = [len(side.runs) for side in sides]
    covers = "the choice of test images and of seeds."
    if max(seeds) == 1:
        covers = "the choice of test images, not of seeds."
    return AnalysisResult(
        "compare",
        f"{first.name} against {second.name}",
        "Table 3, AlexNet and ZFNet rows",
        f"Both networks were tested on the same {images} images. On top-1, {sentence(sides, differences[1])}. "
        f"{seeds[0]} and {seeds[1]} runs (seeds): the interval covers {covers}",
        tables=[
            Table(
                f"{first.name} minus {second.name}, percent points",
                ["", "difference", "95 % interval", _test(sides), "paper"],
                rows,
            )
        ],
        claims=_claims(sides),
    )


def _claims(sides: Sequence[Side]) -> list[Claim]:
    """Return claim 20 if the two networks are AlexNet and ZFNet as published, of any width."""
    groups = [side.group for side in sides if side.group and _whole(side.group)]
    names = [f"{group.model} {group.ablation}" for group in groups]
    if set(names) != {ALEXNET, ZFNET}:
        return []
    first, second = (group.settings for group in groups)
    keys = sorted((first.keys() | second.keys()) - NAMES)
    differ = [key for key in keys if first.get(key) != second.get(key)]

    def wrong(k: int) -> dict[str, WrongBySeed]:
        return {name: side.wrong(k) for name, side in zip(names, sides, strict=True)}

    details = {"top-5 error, points": f"{contrast({ALEXNET: 1, ZFNET: -1}, wrong(5))}; paper 1.6"}
    if differ:
        details["trained differently in"] = ", ".join(differ)
    return [first_layer_claim(wrong(1), groups[0].choices.get("data", ""), details)]


def _whole(group: Group) -> bool:
    """Return whether no layer of the network was edited."""
    edits = tuple(f"model.net.{key}" for key in {*ablation_keys(), "filters"})
    return not any(value and key.startswith(edits) for key, value in group.settings.items())
