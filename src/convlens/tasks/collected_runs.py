"""The finished training runs below a folder, those that differ in the seed alone together."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from convlens import run_records
from convlens.errors import InputError
from convlens.tasks.naming import is_silent

MEASURES = ("seen/top1_error", "val/top1_error", "test/top1_error", "test/top5_error")


@dataclass(frozen=True)
class Group:
    """Runs of one command with several seeds.

    Attributes:
        given: what the command set, but for the seed.
        runs: their directories, in the order of the seeds.
        seeds: of each.
    """

    given: dict[str, str]
    runs: Sequence[Path]
    seeds: Sequence[int]

    @property
    def model(self) -> str:
        """The network's name in the configuration."""
        return self.given.get("model", "zfnet")

    @property
    def ablation(self) -> str:
        """The ablation's."""
        return self.given.get("ablation", "none")

    @cached_property
    def metrics(self) -> list[dict[str, Any]]:
        """Of each run."""
        return [run_records.read_json(run / "metrics.json") for run in self.runs]

    def values(self, measure: str) -> np.ndarray:
        """One for each run, not a number where a run lacks it."""
        return np.array([metrics.get(measure, np.nan) for metrics in self.metrics], float)

    def wrong(self, split: str) -> tuple[np.ndarray, np.ndarray] | None:
        """Names of the images of each run [seeds, images], and whether it got them wrong; None if it is not known."""
        files = [run / "results" / split / "predictions.npz" for run in self.runs]
        if not all(file.exists() for file in files):
            return None
        found = [np.load(file) for file in files]
        if len({len(arrays["labels"]) for arrays in found}) != 1:
            return None
        wrong = [arrays["top5"][:, 0] != arrays["labels"] for arrays in found]
        return np.stack([arrays["images"] for arrays in found]), np.stack(wrong)


def find_groups(sweep: Path) -> tuple[list[Group], dict[str, int]]:
    """The groups of finished runs, and how many other runs there are by status.

    Raises:
        InputError: there is no such folder, or no finished training run below it.
    """
    if not sweep.is_dir():
        raise InputError(f"sweep={sweep}: there is no such folder; give the one that holds the run directories")
    found: dict[tuple[tuple[str, str], ...], list[tuple[int, Path]]] = {}
    others: dict[str, int] = {}
    for file in sorted(sweep.rglob("run.json")):
        record = run_records.read_json(file)
        if record.get("task") != "train":
            continue
        if record.get("status") != "finished":
            status = str(record.get("status", "unreadable"))
            others[status] = others.get(status, 0) + 1
            continue
        given = overrides_of(str(record.get("command", "")))
        seed = int(given.pop("seed", "0"))
        found.setdefault(tuple(sorted(given.items())), []).append((seed, file.parent))
    if not found:
        left = ", ".join(f"{count} {status}" for status, count in others.items()) or "none at all"
        raise InputError(f"sweep={sweep}: no finished training run below it ({left})")
    groups = []
    for key, members in found.items():
        members.sort(key=lambda member: member[0])
        groups.append(Group(dict(key), [run for _, run in members], [seed for seed, _ in members]))
    return groups, others


def overrides_of(command: str) -> dict[str, str]:
    """What a command sets, but for what changes nothing in the result."""
    pairs = (word.lstrip("+~").partition("=")[::2] for word in shlex.split(command)[1:])
    return {key: value for key, value in pairs if not is_silent(key) and key != "task"}


def names_of(groups: Sequence[Group]) -> list[str]:
    """A name for each group: its network and what else the groups differ in."""
    keys = sorted({key for group in groups for key in group.given} - {"model", "experiment"})
    telling = [key for key in keys if len({group.given.get(key) for group in groups}) > 1]
    names = []
    for group in groups:
        own = [
            group.given[key] if key == "ablation" else f"{key}={group.given[key]}"
            for key in telling
            if key in group.given and group.given[key] != "none"
        ]
        names.append(", ".join([group.model, *own]))
    return names
