"""Short names of runs in a report, made of the configuration settings in which the runs differ."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from convlens.report.study_record import Run, Study
from convlens.runs.run_config import settings_of
from convlens.runs.setting_differences import CHOICES, distinguishing

SEVERAL = 5
"""From this many runs on, names are made of the differing settings: the names of a sweep's jobs are long."""


def rename_runs(study: Study, base: Path) -> Study:
    """Return the study with short names of its runs; equal names are followed by the path relative to ``base``."""
    study = _apply(study, _setting_names(study.runs))
    names = [run.name for run in study.runs]
    repeated = [run for run in study.runs if names.count(run.name) > 1]
    return _apply(study, {run.directory: f"{run.name} ({_relative(run.directory, base)})" for run in repeated})


def _apply(study: Study, names: Mapping[Path, str]) -> Study:
    runs = {run.directory: replace(run, name=names.get(run.directory, run.name)) for run in study.runs}
    parts = [replace(part, run=runs.get(part.run.directory, part.run)) if part.run else part for part in study.parts]
    return replace(study, runs=list(runs.values()), parts=parts)


def _setting_names(runs: Sequence[Run]) -> dict[Path, str]:
    """Return names by directory; empty if there are few runs or the settings do not tell all of them apart."""
    composed = [run for run in runs if run.settings]
    settings = [settings_of(run.settings) | dict(run.choices) | {"task": run.task} for run in composed]
    given = [key for key in ("model", "ablation", "task") if len({one.get(key) for one in settings}) > 1]
    keys = [*given, *distinguishing(settings, given)]
    names = [_name(one, keys) for one in settings]
    if len(composed) < SEVERAL or len(set(names)) < len(names) or not all(names):
        return {}
    return {run.directory: name for run, name in zip(composed, names, strict=True)}


def _name(settings: Mapping[str, object], keys: Sequence[str]) -> str:
    shown = [key for key in keys if key in settings and (key, settings[key]) != ("ablation", "none")]
    short = (*CHOICES, "task")
    return ", ".join(str(settings[key]) if key in short else f"{key}={settings[key]}" for key in shown)


def _relative(path: Path, base: Path) -> str:
    full, root = path.resolve(), base.resolve()
    return str(full.relative_to(root) if full.is_relative_to(root) else path)
