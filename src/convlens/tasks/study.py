"""``task=study``: train, project, diagnose and compare networks as a list of jobs, then write the report."""

import logging
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from convlens.errors import InputError, ResourceError
from convlens.io.file_states import changed_files
from convlens.io.json_files import read_json, write_json
from convlens.io.locks import directory_lock
from convlens.report import write_report
from convlens.runs.compose import compose_job
from convlens.runs.damage import damaged_files
from convlens.runs.dispatch import dispatch
from convlens.runs.naming import key_of, quotable
from convlens.runs.record import command_line
from convlens.runs.replacement import STUDY

log = logging.getLogger(__name__)

Entry = dict[str, object]
"""What ``study.json`` says of a part: name, run, command, status, seconds, error, traceback."""


@dataclass(frozen=True)
class Part:
    """A part of a study: a job with overrides of its own.

    Attributes:
        name: of the part, in the log and the report.
        run: the directory of its run, below that of the study; several parts may share one.
        overrides: in addition to the study's; ``{name}`` is the directory of the parts whose ``run`` is that name,
            ``{name:file}`` a file in it.
        result: the folder below ``results`` that it writes, or a pattern such as ``transfer_*``; None for a training.
        without: first words of keys, such as ``data``: the study's overrides of these are not for this part.
    """

    name: str
    run: str
    overrides: Sequence[str]
    result: str | None = None
    without: Sequence[str] = ()


@dataclass(frozen=True)
class Directory:
    """The directory of a part, as overrides name it."""

    path: Path

    def __format__(self, file: str) -> str:
        return quotable(self.path / file)


@dataclass(frozen=True)
class Settings:
    """Settings of the task; ``conf/task/study.yaml`` has their values and what they mean."""

    scale: Sequence[str]
    title: str
    parts: Sequence[Part]


def run(cfg: DictConfig, overrides: list[str], settings: Settings) -> int:
    """Do the parts one after the other and write the report; the rest continues after a part that fails.

    Each part is a job with the study's overrides and then its own. Finished parts are reused.

    Raises:
        InputError: the command chooses a model, or another process works on the study.
    """
    with directory_lock(Path(cfg.run_dir), "study"):
        return _do_parts(cfg, overrides, settings)


def _do_parts(cfg: DictConfig, overrides: Sequence[str], settings: Settings) -> int:
    folder, parts = Path(cfg.run_dir), settings.parts
    shared = shared_overrides(overrides, settings.scale, parts)
    directories = {part.run: Directory(folder / part.run) for part in parts}
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
    return _finish(folder, done)


def _finish(folder: Path, done: Sequence[Entry]) -> int:
    """Write the report and log what failed and what was reused; return the exit code."""
    path = write_report(folder)
    failed = [str(part["name"]) for part in done if part["status"] == "failed"]
    if failed:
        log.error("%d of %d parts failed: %s", len(failed), len(done), ", ".join(failed))
    if reused := sum(part["status"] == "reused" for part in done):
        log.info("%d of %d parts were finished before and reused (force=true repeats them)", reused, len(done))
    log.info("report: %s", path.resolve())
    return 1 if failed else 0


def shared_overrides(overrides: Sequence[str], scale: Sequence[str], parts: Sequence[Part]) -> list[str]:
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


def do_part(folder: Path, part: Part, overrides: Sequence[str], before: Mapping[str, object], *, force: bool) -> Entry:
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


def is_reusable(run_dir: Path, part: Part, command: str, before: Mapping[str, object]) -> bool:
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
