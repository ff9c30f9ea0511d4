"""Names of jobs and run directories, from the command's overrides: the same command has the same directory."""

import re
from collections.abc import Sequence
from pathlib import Path

from convlens.io.hashing import short_sha256
from convlens.runs.neutral_settings import is_neutral

ONE_NETWORK = ("train", "project", "diagnose")
"""Tasks whose jobs are named after the default model too."""
LONGEST = 100
"""Characters of a job's name after its task."""


def job_name(overrides: Sequence[str], model: str, data: str) -> str:
    """Return ``train/zfnet-parts`` and what else the command changes, such as ``train/alexnet-parts-seed_1``.

    The jobs of an experiment are together under its name instead of the task's. A long name ends in a hash of the rest.

    Args:
        overrides: of the command.
        model: the chosen model, where the command does not name one.
        data: the chosen data set, likewise.
    """
    given = {key_of(override): override.partition("=")[2] for override in overrides}
    experiment = given.pop("experiment", None)
    task, data = given.pop("task", "train"), given.pop("data", data)
    model = given.pop("model", model if task in ONE_NETWORK else "")
    named = [key for key in given if not is_neutral(key)]
    # The seed first, then choices of a group, such as the ablation, since long names are cut.
    rest = [f"{key}_{given[key]}" for key in sorted(named, key=lambda key: (key != "seed", "." in key, key))]
    name = "-".join([*filter(None, [model]), data, *rest])
    # Only characters that Hydra's grammar takes without quotes, so that `run=` can be given the directory as it is.
    name = re.sub(r"[^A-Za-z0-9_.+-]+", "_", name)
    if len(name) > LONGEST:
        name = f"{name[: LONGEST - 9]}-{short_sha256(name, 8)}"
    return f"{experiment or task}/{name}"


def key_of(override: str) -> str:
    """Return the key that an override sets, adds or removes."""
    return override.lstrip("+~").partition("=")[0]


def without(overrides: Sequence[str], keys: Sequence[str]) -> list[str]:
    """Return the overrides of other keys than these."""
    return [override for override in overrides if key_of(override) not in keys]


def group(name: str, data: str, sweep: str = "") -> str:
    """Return the group of a job in a dashboard: its experiment or task, its data, and its sweep if it is of one."""
    return "-".join(filter(None, [name.partition("/")[0], data, sweep]))


def sweep_name(overrides: Sequence[str]) -> str:
    """Return an identifier of a sweep: the same when the same command is given again."""
    named = sorted(override for override in overrides if not is_neutral(key_of(override)))
    return short_sha256("\n".join(named), 6)


def run_dir(output_root: str, name: str, run: str | None) -> str:
    """Return the directory a job writes to: the run it works on, or its own."""
    return str(run) if run else str(Path(output_root) / name)


def quotable(path: Path | str) -> str:
    """Return a path or name as a value in an override, in quotes where Hydra's grammar needs them."""
    text = str(path)
    if re.fullmatch(r"[A-Za-z0-9_./+-]+", text):
        return text
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
