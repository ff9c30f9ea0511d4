"""Group the finished training runs below a folder: runs whose settings differ only in the seed form a group."""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import yaml
from jaxtyping import Bool, Float

from convlens.errors import InputError
from convlens.io.json_files import read_json
from convlens.runs.conf_files import conf_dir
from convlens.runs.predictions import OLD_SPLITS, read_predictions
from convlens.runs.record_file import read_record
from convlens.runs.run_config import read_config, settings_of
from convlens.runs.setting_differences import CHOICES, hashable

MEASURES = ("train_eval/top1_error", "val/top1_error", "test/top1_error", "test/top5_error")
"""Metrics of a run that a table of groups shows, in percent."""
FOLLOWS = {
    "system.seed": "seed",
    "data.seed": "seed",
    "data.mean": "model.input_mean",
    "data.std": "model.input_std",
}
"""Settings that repeat another one unless they are set themselves."""


@dataclass(frozen=True)
class Group:
    """Runs with the same settings and different seeds.

    Attributes:
        choices: names of the network, ablation, data set and recipe.
        settings: the configuration by dotted name, without the seed and what does not change the result.
        runs: the run directories, in the order of the seeds.
        seeds: the seed of each run.
    """

    choices: Mapping[str, str]
    settings: Mapping[str, object]
    runs: Sequence[Path]
    seeds: Sequence[int]

    def __repr__(self) -> str:
        return f"Group({', '.join(f'{key}={value}' for key, value in self.choices.items())}, seeds={list(self.seeds)})"

    @property
    def model(self) -> str:
        """Name of the network."""
        return self.choices["model"]

    @property
    def ablation(self) -> str:
        """Name of the ablation; ``none`` is the network as published."""
        return self.choices["ablation"]

    @property
    def training(self) -> Mapping[str, object]:
        """All settings but those of the network."""
        return {key: value for key, value in self.settings.items() if not key.startswith("model.")}

    @cached_property
    def metrics(self) -> list[dict[str, float | None]]:
        """Content of each run's ``metrics.json``."""
        return [read_json(run / "metrics.json") for run in self.runs]

    def values(self, measure: str) -> Float[np.ndarray, " runs"]:
        """Return a metric of each run; NaN for a run without it."""
        split, _, name = measure.partition("/")
        old = f"{OLD_SPLITS.get(split, split)}/{name}"
        return np.array([metrics.get(measure, metrics.get(old, np.nan)) for metrics in self.metrics], float)

    def wrong(self, split: str) -> dict[int, tuple[np.ndarray, Bool[np.ndarray, " images"]]]:
        """Return for each seed the names of a split's images and whether the network's best class was wrong.

        Runs whose predictions cannot be read are left out.
        """
        found = {}
        for seed, run in zip(self.seeds, self.runs, strict=True):
            try:
                predictions = read_predictions(run, split)
            except InputError:
                continue
            found[seed] = (predictions.images, predictions.wrong())
        return found


def find_groups(sweep: Path) -> tuple[list[Group], dict[str, int]]:
    """Return the groups of finished training runs below a folder, and the number of other runs by reason.

    Raises:
        InputError: there is no such folder, or no finished training run below it.
    """
    if not sweep.is_dir():
        raise InputError(f"sweep={sweep}: there is no such folder; give the one that holds the run directories")
    found = _Found()
    others: Counter[str] = Counter()
    for file in sorted(sweep.rglob("run.json")):
        record = read_record(file.parent)
        if record.get("task") != "train":
            continue
        if record.get("status") != "finished":
            others[str(record.get("status", "unreadable"))] += 1
            continue
        if reason := found.add(file.parent):
            others[reason] += 1
    if not found.groups():
        reasons = ", ".join(f"{count} {reason}" for reason, count in others.items()) or "none at all"
        raise InputError(f"sweep={sweep}: no finished training run below it ({reasons})")
    return found.groups(), dict(others)


def group_runs(run_dirs: Iterable[Path]) -> list[Group]:
    """Return the groups of given training runs, in the order of their first runs.

    Raises:
        InputError: a run is not finished or cannot be read, or two have the same settings and seed.
    """
    found = _Found()
    for run_dir in run_dirs:
        if reason := found.add(run_dir):
            raise InputError(
                f"{run_dir} is a run {reason}: give finished training runs that differ in seed or settings"
            )
    return found.groups()


class _Found:
    """Runs that are added one by one, by their settings and seed."""

    def __init__(self) -> None:
        self._members: dict[Hashable, dict[int, Path]] = {}
        self._configs: dict[Hashable, dict[str, object]] = {}

    def add(self, run_dir: Path) -> str:
        """Add a run; return why it was not, empty if it was."""
        config = read_config(run_dir)
        seed = (config or {}).get("seed")
        if config is None or not isinstance(seed, int) or not read_json(run_dir / "metrics.json"):
            return "without a configuration, seed or metrics that can be read"
        key = _identity(without_seed(config))
        members = self._members.setdefault(key, {})
        self._configs.setdefault(key, config)
        if seed in members:
            return "of a seed that another run of the same settings has"
        members[seed] = run_dir
        return ""

    def groups(self) -> list[Group]:
        """Return what was added."""
        return [_group(self._configs[key], members) for key, members in self._members.items()]


def _group(config: Mapping[str, object], members: Mapping[int, Path]) -> Group:
    seeds = sorted(members)
    runs = [members[seed] for seed in seeds]
    return Group(choices_of(runs[0], config), without_seed(config), runs, seeds)


def without_seed(config: Mapping[str, object]) -> dict[str, object]:
    """Return the settings of a resolved configuration without the seed and without those that repeat another one.

    Args:
        config: plain values, such as the content of a run's ``config.yaml``.
    """
    settings = settings_of(config)
    repeated = {key for key, source in FOLLOWS.items() if settings.get(key) == settings.get(source)}
    return {key: value for key, value in settings.items() if key not in repeated | {"seed"}}


def _identity(settings: Mapping[str, object]) -> Hashable:
    """Return a key that is equal for equal settings."""
    return frozenset((name, hashable(value)) for name, value in settings.items())


def choices_of(run_dir: Path, config: Mapping[str, object]) -> dict[str, str]:
    """Return the names of a run's network, ablation, data set and recipe, as far as they are recorded."""
    recorded = read_record(run_dir).get("choices") or {}
    choices = {"ablation": "none"} | {key: str(recorded[key]) for key in CHOICES if key in recorded}
    settings = settings_of(config)
    choices["model"] = str(settings.get("model.name", choices.get("model", "unknown")))
    choices.setdefault("data", str(settings.get("data.source._target_", "unknown")).rpartition(".")[2])
    return {key: choices[key] for key in CHOICES if key in choices}


# ---- comparing groups --------------------------------------------------------------------------------------------


def by_training(groups: Iterable[Group]) -> list[list[Group]]:
    """Return lists of the groups that differ only in the network and its ablation."""
    found: dict[Hashable, list[Group]] = {}
    for group in groups:
        found.setdefault(_identity(group.training), []).append(group)
    return list(found.values())


def base_of(group: Group, groups: Iterable[Group]) -> Group | None:
    """Return the group of the same network without the ablation; None if there is none.

    The two may differ in the settings that the files of ``conf/ablation`` set, and in nothing else.
    """
    if group.ablation == "none":
        return None
    ablated = tuple(f"model.net.{key}" for key in ablation_keys())

    def rest(one: Group) -> dict[str, Hashable]:
        return {
            key: hashable(value)
            for key, value in one.settings.items()
            if not any(key == name or key.startswith(f"{name}.") for name in ablated)
        }

    return next((one for one in groups if one.ablation == "none" and rest(one) == rest(group)), None)


def ablation_keys() -> set[str]:
    """Return the settings of a network that the files of ``conf/ablation`` set, such as ``removed``."""
    files = sorted((conf_dir() / "ablation").glob("*.yaml"))
    return {key for file in files for key in yaml.safe_load(file.read_text()) or {}}
