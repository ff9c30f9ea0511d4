"""The finished training runs below a folder, those that differ in the seed alone together."""

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from convlens.errors import InputError
from convlens.runs.naming import is_silent
from convlens.runs.record import read_json

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
        return self.given["model"]

    @property
    def ablation(self) -> str:
        """The ablation's."""
        return self.given["ablation"]

    @property
    def setting(self) -> dict[str, str]:
        """What the runs were given beside their network."""
        return {key: value for key, value in self.given.items() if key not in ("model", "ablation")}

    @cached_property
    def metrics(self) -> list[dict[str, Any]]:
        """Of each run."""
        return [read_json(run / "metrics.json") for run in self.runs]

    def values(self, measure: str) -> np.ndarray:
        """One for each run, not a number where a run lacks it."""
        return np.array([metrics.get(measure, np.nan) for metrics in self.metrics], float)

    def wrong(self, split: str) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """For each seed the names of the images and whether the run got them wrong, as far as that can be read."""
        found = {}
        for seed, run in zip(self.seeds, self.runs, strict=True):
            try:
                with np.load(run / "results" / split / "predictions.npz") as arrays:
                    found[seed] = (arrays["images"], arrays["top5"][:, 0] != arrays["labels"])
            except (OSError, ValueError, KeyError, BadZipFile):
                continue
        return found


def find_groups(sweep: Path) -> tuple[list[Group], dict[str, int]]:
    """The groups of finished runs, and how many other runs there are by why they are not in one.

    Raises:
        InputError: there is no such folder, or no finished training run below it.
    """
    if not sweep.is_dir():
        raise InputError(f"sweep={sweep}: there is no such folder; give the one that holds the run directories")
    found: dict[tuple[tuple[str, str], ...], dict[int, Path]] = {}
    others: Counter[str] = Counter()
    for file in sorted(sweep.rglob("run.json")):
        record = read_json(file)
        if record.get("task") != "train":
            continue
        if record.get("status") != "finished":
            others[str(record.get("status", "unreadable"))] += 1
            continue
        try:
            given = given_to(record)
        except ValueError:  # quotes that are not closed
            others["unreadable"] += 1
            continue
        seed = given.pop("seed", "0")
        if not seed.isdecimal() or not read_json(file.parent / "metrics.json"):
            others["without a seed or numbers that can be read"] += 1
            continue
        members = found.setdefault(tuple(sorted(given.items())), {})
        if int(seed) in members:
            others["of a seed that is there already"] += 1
        members.setdefault(int(seed), file.parent)
    if not found:
        left = ", ".join(f"{count} {status}" for status, count in others.items()) or "none at all"
        raise InputError(f"sweep={sweep}: no finished training run below it ({left})")
    return [
        Group(dict(key), [members[seed] for seed in sorted(members)], sorted(members)) for key, members in found.items()
    ], dict(others)


def given_to(record: Mapping[str, Any]) -> dict[str, str]:
    """What a run was given: by its command and, where that leaves the choice to an experiment, by that."""
    usual = {"model": "zfnet", "ablation": "none", "data": "parts"}
    chosen = {key: str(value) for key, value in (record.get("choices") or {}).items() if key in usual}
    return usual | overrides_of(str(record.get("command", ""))) | chosen


def overrides_of(command: str) -> dict[str, str]:
    """What a command sets, but for what changes nothing in the result."""
    pairs = (word.lstrip("+~").partition("=")[::2] for word in shlex.split(command)[1:])
    return {key: value for key, value in pairs if not is_silent(key) and key != "task"}


def names_of(groups: Sequence[Group]) -> list[str]:
    """A name for each group: its network and what else the groups differ in."""
    keys = sorted({key for group in groups for key in group.given} - {"model", "experiment"}, key=_place)
    telling = [key for key in keys if len({group.given.get(key) for group in groups}) > 1]
    names = []
    for group in groups:
        own = [
            group.given[key] if key == "ablation" else f"{key}={group.given[key]}"
            for key in telling
            if key in group.given and (key, group.given[key]) != ("ablation", "none")
        ]
        names.append(", ".join([group.model, *own]))
    return names


def _place(key: str) -> tuple[bool, str]:
    """The ablation right after the network."""
    return key != "ablation", key
