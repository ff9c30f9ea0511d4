"""``task=study``: train, project, diagnose and compare networks as a list of jobs, then write the report."""

import logging
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from omegaconf import DictConfig

from convlens.errors import InputError, ResourceError
from convlens.io.file_states import changed_files
from convlens.io.json_files import read_json, write_json
from convlens.io.locks import directory_lock
from convlens.report import write_report
from convlens.report.claims_board import log_board
from convlens.runs.compose import compose_job
from convlens.runs.config_check import check_root
from convlens.runs.damage import damaged_files
from convlens.runs.dispatch import dispatch
from convlens.runs.naming import key_of, quotable
from convlens.runs.record import command_line
from convlens.runs.replacement import STUDY
from convlens.runs.task_loggers import loggers_of
from convlens.runs.typed_settings import Count
from convlens.runs.value_bounds import Override

log = logging.getLogger(__name__)

Entry = dict[str, object]
"""A part in ``study.json``: name, run, command, status, seconds, error, traceback."""


@dataclass(frozen=True)
class PartSettings:
    """A part of a study: a job with overrides of its own.

    Attributes:
        name: of the part, in the log and the report.
        run: the directory of its run, below that of the study; several parts may share one.
        overrides: in addition to the study's; ``{name}`` is the directory of the parts whose ``run`` is that name, or
            their directories, divided by commas, if the part is done for each seed; ``{name:file}`` is a file in it.
        result: the folder below ``results`` that it writes, or a pattern such as ``transfer_*``; None for a training.
        each_seed: whether the part is done once for each of the study's seeds.
        without: first words of keys, such as ``data``: the study's overrides of these are not for this part.
    """

    name: str
    run: str
    overrides: Sequence[Override]
    result: str | None = None
    each_seed: bool = False
    without: Sequence[str] = ()


@dataclass(frozen=True)
class Directories:
    """The directories of a part, one for each seed, as overrides name them."""

    paths: Sequence[Path]

    def __format__(self, file: str) -> str:
        return ",".join(quotable(path / file) for path in self.paths)


@dataclass(frozen=True)
class Settings:
    """Settings of the task; ``conf/task/study.yaml`` has their values and what they mean."""

    scale: Sequence[Override]
    title: str
    parts: Sequence[PartSettings]
    seeds: Sequence[Count] = ()


def run(cfg: DictConfig, overrides: list[str], settings: Settings) -> int:
    """Do the parts one after the other and write the report; the rest continues after a part that fails.

    Each part is a job with the study's overrides and then its own. Finished parts are reused.

    Raises:
        InputError: there are no parts, the command chooses a model, the scale cannot be composed, or another process
            works on the study.
    """
    if not settings.parts:
        raise InputError("task.parts is empty: give at least one, such as {name: a, run: a, overrides: [task=train]}")
    shared = shared_overrides(overrides, settings.scale, settings.parts)
    _check_shared(cfg.run_dir, shared)
    with directory_lock(Path(cfg.run_dir), "study"):
        return _do_parts(cfg, overrides, shared, settings)


def _do_parts(cfg: DictConfig, overrides: Sequence[str], shared: Sequence[str], settings: Settings) -> int:
    folder, repeated = Path(cfg.run_dir), [repetitions(part, settings.seeds) for part in settings.parts]
    parts = list(chain.from_iterable(repeated))
    directories = {
        part.run: Directories([folder / one.run for one in own])
        for part, own in zip(settings.parts, repeated, strict=True)
    }
    before: dict[str, Entry] = {str(part["name"]): part for part in read_json(folder / STUDY).get("parts", [])}
    done: list[Entry] = []

    def note(number: int) -> None:
        # Later parts stay noted, so that a study that is stopped does not do them again.
        later = [before[part.name] for part in parts[number:] if part.name in before]
        record = {"title": settings.title, "command": command_line(overrides), "parts": [*done, *later]}
        write_json(folder / STUDY, record)

    note(0)
    for number, part in enumerate(parts, 1):
        log.info("[%d/%d] %s", number, len(parts), part.name)
        given = [override for override in shared if key_of(override).partition(".")[0] not in part.without]
        own = [*given, *(override.format_map(directories) for override in part.overrides)]
        done.append(do_part(folder, part, own, before.get(part.name, {}), force=cfg.force))
        note(number)
    return _finish(cfg, folder, done)


def repetitions(part: PartSettings, seeds: Sequence[int]) -> list[PartSettings]:
    """Return a part once for each seed, with a name and a run of its own, if it is done for each seed; else itself.

    Raises:
        InputError: it is done for each seed, and there is none.
    """
    if not part.each_seed:
        return [part]
    if not seeds:
        raise InputError(f"task.seeds is empty: give seeds of {part.name!r}, such as [0,1,2]")
    name, run = part.name, part.run
    return [
        replace(part, name=f"{name}, seed {seed}", run=f"{run}-{seed}", overrides=[*part.overrides, f"seed={seed}"])
        for seed in seeds
    ]


def _finish(cfg: DictConfig, folder: Path, done: Sequence[Entry]) -> int:
    """Write the report, log its board of claims, and what failed and what was reused; return the exit code."""
    path = write_report(folder)
    with loggers_of(cfg) as loggers:
        log_board(folder, loggers)
    failed = [str(part["name"]) for part in done if part["status"] == "failed"]
    if failed:
        log.error("%d of %d parts failed: %s", len(failed), len(done), ", ".join(failed))
    if reused := sum(part["status"] == "reused" for part in done):
        log.info("%d of %d parts were finished before and reused (force=true repeats them)", reused, len(done))
    log.info("report: %s", path.resolve())
    return 1 if failed else 0


def shared_overrides(overrides: Sequence[str], scale: Sequence[str], parts: Sequence[PartSettings]) -> list[str]:
    """Return the overrides of every part: those of the command, and the study's scale unless an experiment has its own.

    Raises:
        InputError: the command chooses a model, and so do the parts.
    """
    typed = [override for override in overrides if not override.startswith(("task", "run_dir=", "job_name="))]
    keys = {key_of(override) for override in typed}
    chosen = [
        override.removeprefix("model=") for part in parts for override in part.overrides if key_of(override) == "model"
    ]
    if "model" in keys and chosen:
        names = " and ".join(dict.fromkeys(chosen))
        raise InputError(f"task=study trains {names} itself: leave out model=, or use task=train")
    return ([] if "experiment" in keys else [o for o in scale if key_of(o) not in keys]) + typed


def _check_shared(run_dir: str, shared: Sequence[str]) -> None:
    """Check the overrides of all parts, a mistake in which would fail one part after the other.

    Raises:
        InputError: they cannot be composed, or a setting is of another type.
    """
    own = [*shared, f"run_dir={quotable(run_dir)}"]
    check_root(compose_job(own), own)


def do_part(
    folder: Path, part: PartSettings, overrides: Sequence[str], before: Mapping[str, object], *, force: bool
) -> Entry:
    """Do one part as a job, unless the same command did it before; return its entry.

    Raises:
        ResourceError: the machine lacks room on its disk, memory or open files.
    """
    run_dir = folder / part.run
    own = [*overrides, f"run_dir={quotable(run_dir)}", f"job_name={run_dir.name}"]
    entry: Entry = {"name": part.name, "run": part.run, "command": command_line(own)}
    entry |= {"status": "finished", "seconds": 0.0, "error": None, "traceback": None}
    if not force and is_reusable(run_dir, part, str(entry["command"]), before):
        log.info("%s is finished: reused", part.name)
        return entry | {"status": "reused", "seconds": before["seconds"]}
    started = time.monotonic()
    try:
        dispatch(compose_job(own), own)
    except ResourceError:
        raise  # the other parts would lack it, too
    except Exception as error:
        log.error("%s failed: %s", part.name, error)
        entry |= {
            "status": "failed",
            "error": str(error).splitlines()[0] if str(error) else repr(error),
            "traceback": None if isinstance(error, InputError) else traceback.format_exc(),
        }
    if not run_dir.exists():
        entry["run"] = None
    return entry | {"seconds": round(time.monotonic() - started, 1)}


def is_reusable(run_dir: Path, part: PartSettings, command: str, before: Mapping[str, object]) -> bool:
    """Return whether the same command finished a part before, and its result is whole and newer than the weights."""
    if before.get("command") != command or before["status"] == "failed" or damaged_files(run_dir):
        return False
    pattern = f"results/{part.result}/result.json" if part.result else "metrics.json"
    return any(_is_whole(marker, command, run_dir / "checkpoints/best.ckpt") for marker in run_dir.glob(pattern))


def _is_whole(marker: Path, command: str, best: Path) -> bool:
    """Return whether a result is that of a command, as it was written, and newer than the weights."""
    result = read_json(marker)
    if not result or result.get("command", command) != command:  # another command wrote the result since
        return False
    if changed_files(marker.parent, result.get("states")):
        return False
    return not best.exists() or marker.stat().st_mtime >= best.stat().st_mtime
