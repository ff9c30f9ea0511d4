"""Names of jobs and run directories from the command's overrides: the same command, the same directory."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

# Overrides that do not change what a run computes.
SILENT = (
    "logger",
    "trainer.accelerator",
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.strategy",
    "trainer.accumulate_grad_batches",
    "trainer.enable_",
    "trainer.log_every_n_steps",
    "trainer.num_sanity_val_steps",
    "trainer.profiler",
    "data.download",
    "data.num_workers",
    "hydra.",
    "hydra/",
    "force",
    "output_root",
    "run_dir",
    "cache_dir",
    "checkpoint_every",
    "data_dir",
    "job_name",
    "run=",
)
ONE_NETWORK = ("train", "project", "diagnose")  # tasks that have a model by default
LONGEST = 100


def job_name(overrides: Sequence[str], model: str = "zfnet", data: str = "parts") -> str:
    """``train/zfnet-parts`` and whatever else the command changes, such as ``train/alexnet-parts-seed_1``.

    The jobs of an experiment are together under its name instead of the task's. Long names end in a hash instead of
    the rest.

    Args:
        overrides: of the command.
        model: the one chosen where the command does not say: by default, or by an experiment.
        data: the data, likewise.
    """
    given = dict(o.lstrip("+~").partition("=")[::2] for o in overrides)
    experiment = given.pop("experiment", None)
    task, data = given.pop("task", "train"), given.pop("data", data)
    model = given.pop("model", model if task in ONE_NETWORK else "")
    loud = [key for key in given if not is_silent(key)]
    # The seed first, then choices of a group, such as the ablation: long names are cut, and should still tell.
    rest = [f"{key}_{given[key]}" for key in sorted(loud, key=lambda key: (key != "seed", "." in key, key))]
    name = "-".join([*filter(None, [model]), data, *rest])
    # Only what Hydra's grammar takes without quotes, so that `run=` can be given the directory as it is.
    name = re.sub(r"[^A-Za-z0-9_.+-]+", "_", name)
    if len(name) > LONGEST:
        name = f"{name[: LONGEST - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return f"{experiment or task}/{name}"


def without(overrides: Sequence[str], keys: Sequence[str]) -> list[str]:
    """The overrides of other settings than these."""
    return [o for o in overrides if o.lstrip("+~").partition("=")[0] not in keys]


def is_silent(key: str) -> bool:
    """Whether a setting changes nothing in what a run computes."""
    return f"{key}=".startswith(SILENT)


def group(name: str, data: str, sweep: str = "") -> str:
    """The group of a job in a dashboard: that of its sweep, or of its experiment or task, on the same data."""
    return "-".join(filter(None, [name.partition("/")[0], data, sweep]))


def sweep_name(typed: Sequence[str]) -> str:
    """What tells a sweep apart from others: the same when the same command is given again."""
    loud = sorted(o for o in typed if not is_silent(o.lstrip("+~").partition("=")[0]))
    return hashlib.sha256("\n".join(loud).encode()).hexdigest()[:6]


def run_dir(output_root: str, name: str, run: str | None) -> str:
    """The directory a job writes to: the run it works on, or its own."""
    return str(run) if run else str(Path(output_root) / name)


def quotable(path: Path | str) -> str:
    """A path or a name as a value in an override: in quotes where Hydra's grammar would stumble."""
    text = str(path)
    if re.fullmatch(r"[A-Za-z0-9_./+-]+", text):
        return text
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
