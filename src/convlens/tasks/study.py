"""``task=study``: both networks trained, projected, diagnosed, compared; then the report."""

import logging
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from convlens.cli.main import groups
from convlens.errors import InputError
from convlens.io.atomic import write_json
from convlens.report import write_report
from convlens.runs.config_errors import explain
from convlens.runs.dispatch import dispatch
from convlens.runs.naming import quotable
from convlens.runs.record import command_line, read_json

log = logging.getLogger(__name__)


def run(
    cfg: DictConfig, overrides: list[str], *, title: str, scale: Sequence[str], parts: Sequence[Mapping[str, Any]]
) -> int:
    """Do the parts one after the other; a part that fails is shown as failed and the rest goes on.

    Each part is a job of its own, with the study's overrides and then its own; what is finished is reused.

    Raises:
        InputError: the command chooses a model.
    """
    folder = Path(cfg.run_dir)
    shared = shared_overrides(overrides, scale)
    places = {part["run"]: quotable(folder / part["run"]) for part in parts}
    parts = [{**part, "overrides": [o.format_map(places) for o in part["overrides"]]} for part in parts]
    before = {part["name"]: part for part in read_json(folder / "study.json").get("parts", [])}
    done: list[dict[str, Any]] = []
    for number, part in enumerate(parts, 1):
        log.info("[%d/%d] %s", number, len(parts), part["name"])
        done.append(do_part(folder, part, shared, cfg, before.get(part["name"], {})))
        # What was done before stays noted, or a study that is stopped half-way would do it again.
        later = [before[p["name"]] for p in parts[number:] if p["name"] in before]
        write_json(
            folder / "study.json", {"title": title, "command": command_line(overrides), "parts": [*done, *later]}
        )
    failed = [part["name"] for part in done if part["status"] == "failed"]
    path = write_report(folder)
    if failed:
        log.error("%d of %d parts failed: %s", len(failed), len(done), ", ".join(failed))
    reused = sum(part["status"] == "reused" for part in done)
    if reused:
        log.info("%d of %d parts were finished before and reused (force=true does them anew)", reused, len(done))
    log.info("report: %s", path.resolve())
    return 1 if failed else 0


def shared_overrides(overrides: Sequence[str], scale: Sequence[str]) -> list[str]:
    """What every part is given: the study's scale, unless an experiment brings its own, and what was typed."""
    typed = [o for o in overrides if not o.startswith(("task", "run_dir=", "job_name="))]
    keys = {key(o) for o in typed}
    if "model" in keys:
        raise InputError("task=study trains alexnet and zfnet itself: leave out model=, or use task=train")
    return ([] if "experiment" in keys else [o for o in scale if key(o) not in keys]) + typed


def key(override: str) -> str:
    """What an override sets."""
    return override.lstrip("+~").partition("=")[0]


def do_part(
    folder: Path, part: Mapping[str, Any], shared: list[str], cfg: DictConfig, before: Mapping[str, Any]
) -> dict[str, Any]:
    """One part as a job, unless the same command did it before; what became of it."""
    run_dir = folder / part["run"]
    own = [*shared, *part["overrides"], f"run_dir={quotable(run_dir)}", f"job_name={run_dir.name}"]
    record = {"name": part["name"], "run": part["run"], "command": command_line(own)}
    record |= {"status": "finished", "seconds": 0.0, "error": None, "traceback": None}
    marker = run_dir / "results" / part["result"] / "result.json" if part.get("result") else run_dir / "metrics.json"
    same = before.get("command") == record["command"] and before["status"] != "failed"
    # Somebody may have asked the run for other pictures meanwhile.
    same = same and read_json(marker).get("command", record["command"]) == record["command"]
    if not cfg.force and same and fresh(marker, run_dir):
        log.info("%s is finished: reused", part["name"])
        return record | {"status": "reused", "seconds": before["seconds"]}
    started = time.monotonic()
    try:
        dispatch(compose(own), own)
    except Exception as error:
        log.error("%s failed: %s", part["name"], error)
        trace = None if isinstance(error, InputError) else traceback.format_exc()
        record |= {
            "status": "failed",
            "error": str(error).splitlines()[0] if str(error) else repr(error),
            "traceback": trace,
        }
    if not run_dir.exists():
        record["run"] = None
    return record | {"seconds": round(time.monotonic() - started, 1)}


def compose(overrides: list[str]) -> DictConfig:
    """The configuration of a part.

    Raises:
        InputError: the overrides cannot be composed.
    """
    try:
        return hydra.compose("config", overrides)
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(explain(error, overrides, groups())) from error


def fresh(marker: Path, run_dir: Path) -> bool:
    """Whether there is a result, newer than the weights it was made from."""
    best = run_dir / "checkpoints" / "best.ckpt"
    return marker.exists() and (not best.exists() or marker.stat().st_mtime >= best.stat().st_mtime)
