"""``task=study``: both networks trained, projected, diagnosed, compared; then the report."""

import logging
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig

from convlens import runs
from convlens.errors import InputError
from convlens.files import write_json
from convlens.report import write_report
from convlens.tasks.dispatch import dispatch

log = logging.getLogger(__name__)


def run(cfg: DictConfig, overrides: list[str], *, title: str, parts: Sequence[Mapping[str, Any]]) -> int:
    """Do the parts one after the other; a part that fails is shown as failed and the rest goes on.

    Each part is a job of its own, with the study's overrides and then its own; what is finished is reused.
    """
    folder = Path(cfg.run_dir)
    shared = [o for o in overrides if not o.startswith(("task", "run_dir=", "experiment="))]
    done: list[dict[str, Any]] = []
    for number, part in enumerate(parts, 1):
        log.info("[%d/%d] %s", number, len(parts), part["name"])
        done.append(do_part(folder, part, shared, cfg))
        write_json(folder / "study.json", {"title": title, "command": runs.command_line(), "parts": done})
    failed = [part["name"] for part in done if part["status"] == "failed"]
    path = write_report(folder)
    if failed:
        log.error("%d of %d parts failed: %s", len(failed), len(done), ", ".join(failed))
    reused = sum(part["status"] == "reused" for part in done)
    if reused:
        log.info("%d of %d parts were finished before and reused (force=true does them anew)", reused, len(done))
    log.info("report: %s", path.resolve())
    return 1 if failed else 0


def do_part(folder: Path, part: Mapping[str, Any], shared: list[str], cfg: DictConfig) -> dict[str, Any]:
    """One part as a job; what became of it."""
    run_dir = folder / part["run"]
    own = [*shared, *part["overrides"], f"run_dir={run_dir}", f"job_name={run_dir.name}", f"cache_dir={cfg.cache_dir}"]
    record = {"name": part["name"], "run": part["run"], "command": f"convlens {' '.join(own)}"}
    record |= {"status": "finished", "seconds": 0.0, "error": None, "traceback": None}
    marker = run_dir / "results" / part["result"] / "result.json" if part.get("result") else run_dir / "metrics.json"
    if marker.exists() and not cfg.force and fresh(marker, run_dir):
        before = {p["name"]: p for p in runs.read_json(folder / "study.json").get("parts", [])}
        log.info("%s is finished: reused", part["name"])
        return record | {"status": "reused", "seconds": before.get(part["name"], {}).get("seconds", 0.0)}
    started = time.monotonic()
    try:
        dispatch(hydra.compose("config", own), own)
    except Exception as error:
        log.error("%s failed: %s", part["name"], error)
        trace = None if isinstance(error, InputError) else traceback.format_exc()
        record |= {
            "status": "failed",
            "error": str(error).splitlines()[0] if str(error) else repr(error),
            "traceback": trace,
        }
    return record | {"seconds": round(time.monotonic() - started, 1)}


def fresh(marker: Path, run_dir: Path) -> bool:
    """Whether a result is newer than the weights it was made from."""
    best = run_dir / "checkpoints" / "best.ckpt"
    return not best.exists() or marker.stat().st_mtime >= best.stat().st_mtime
