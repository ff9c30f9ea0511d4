"""What a run was and how far it came, as its directory tells it; no torch is needed to read it."""

import contextlib
import hashlib
import json
import shlex
import shutil
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

import convlens
from convlens.errors import InputError
from convlens.io.atomic import directory_lock, first_process, write_bytes, write_json

# Keys that do not change what a run computes: it may be continued with others.
FREE_KEYS = (
    *(
        "logger",
        "force",
        "cache_dir",
        "data_dir",
        "output_root",
        "run_dir",
        "job_name",
        "run",
        "task",
        "data.download",
        "checkpoint_every",
    ),
    *("data.cache_dir", "data.num_workers", "trainer.accelerator", "trainer.devices", "trainer.enable_model_summary"),
    *("trainer.enable_progress_bar", "trainer.log_every_n_steps", "trainer.num_sanity_val_steps", "trainer.profiler"),
    *("trainer.num_nodes", "trainer.strategy", "trainer.accumulate_grad_batches"),
)


def plain(cfg: DictConfig) -> dict[str, Any]:
    """The resolved configuration as plain values."""
    return OmegaConf.to_container(cfg, resolve=True)  # type: ignore[return-value]


def _settings(cfg: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value
        for key, value in flat(json.loads(json.dumps(cfg))).items()
        if not {key, key.partition(".")[0]} & set(FREE_KEYS)
    }


def _digest(cfg: DictConfig) -> str:
    """What tells the settings of two runs apart without reading either."""
    return hashlib.sha256(json.dumps(_settings(plain(cfg)), sort_keys=True).encode()).hexdigest()[:16]


def read_json(path: Path) -> dict[str, Any]:
    """A json file's content; empty where there is none or it is damaged."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def status(run_dir: Path) -> str:
    """``finished``, ``running``, ``failed``, or ``absent``."""
    return read_json(run_dir / "run.json").get("status", "absent")


def check_same(run_dir: Path, cfg: DictConfig) -> None:
    """Refuse to continue a run with settings other than its own; one that never trained binds nobody.

    Raises:
        InputError: names the first setting that differs.
    """
    path = run_dir / "config.yaml"
    trained = status(run_dir) == "finished" or any(run_dir.glob("checkpoints/*.ckpt"))
    if not (path.exists() and trained):
        return
    if read_json(run_dir / "run.json").get("settings") == _digest(cfg):
        return
    old, new = (_settings(plain(OmegaConf.create(c))) for c in (OmegaConf.load(path), plain(cfg)))  # type: ignore[arg-type]
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) != new.get(key):
            raise InputError(
                f"{run_dir} holds a run with {key}={old.get(key)}, not {new.get(key)}: "
                "choose another run_dir, or force=true to do it anew"
            )


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Values in values by names with dots between, such as ``model.net.width``."""
    if not isinstance(value, dict):
        return {prefix: value}
    found: dict[str, Any] = {}
    for key, item in value.items():
        found |= flat(item, f"{prefix}.{key}" if prefix else str(key))
    return found


@contextmanager
def recorded(
    run_dir: Path,
    cfg: DictConfig,
    task: str,
    command: str,
    *,
    shared: bool = False,
    begin: Callable[[], bool] = lambda: True,
) -> Iterator[bool]:
    """Keep ``config.yaml`` and ``run.json`` (status, command, seconds, error) while a job works in a run directory.

    A job that is refused in a new directory leaves nothing there. In a shared directory others may work, too: the
    record is of the job that ended last.

    Args:
        run_dir: the directory.
        cfg: the job's configuration.
        task: its name.
        command: what does the job alone.
        shared: others may work in the directory at the same time.
        begin: called before the record is changed, when no other process works there: whether there is anything to do.

    Yields:
        What ``begin`` said.

    Raises:
        InputError: another process works there.
    """
    new = not (run_dir / "run.json").exists()
    with contextlib.nullcontext() if shared else directory_lock(run_dir):
        try:
            if not begin():
                yield False
                return
            with _noted(run_dir, cfg, task, command):
                yield True
        except InputError:
            if new and not any(run_dir.glob("checkpoints/*")) and not any(run_dir.glob("results/*/*")):
                clear(run_dir)
                for name in ("config.yaml", "run.json", "run.log"):
                    (run_dir / name).unlink(missing_ok=True)
            raise


@contextmanager
def _noted(run_dir: Path, cfg: DictConfig, task: str, command: str) -> Iterator[None]:
    if not first_process():
        yield
        return
    write_bytes(run_dir / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(plain(cfg))).encode())
    before = read_json(run_dir / "run.json").get("seconds", 0.0)
    started = time.monotonic()
    (run_dir / "traceback.txt").unlink(missing_ok=True)

    def note(state: str, error: str | None = None) -> None:
        seconds = round(before + time.monotonic() - started, 1)
        record = {"task": task, "name": cfg.job_name, "status": state, "command": command, "seconds": seconds}
        about = {"error": error, "version": convlens.__version__, "settings": _digest(cfg), "choices": choices()}
        write_json(run_dir / "run.json", record | about)

    note("running")
    try:
        yield
    except BaseException as error:
        if not isinstance(error, InputError | KeyboardInterrupt | SystemExit):
            write_bytes(run_dir / "traceback.txt", traceback.format_exc().encode())
        stopped = isinstance(error, KeyboardInterrupt | SystemExit)
        note("failed", "stopped before the end" if stopped else f"{type(error).__name__}: {error}".splitlines()[0])
        raise
    note("finished")


def choices() -> dict[str, str]:
    """Names of the network, ablation, data and recipe that were chosen, whoever chose them; empty outside of a job."""
    if not HydraConfig.initialized():
        return {}
    chosen = HydraConfig.get().runtime.choices
    return {group: str(chosen[group]) for group in ("model", "ablation", "data", "recipe") if group in chosen}


def clear(run_dir: Path) -> None:
    """Remove what an earlier run left, so that nothing of it is continued or reported as the new one's."""
    for name in ("checkpoints", "results", "tensorboard", "wandb"):
        shutil.rmtree(run_dir / name, ignore_errors=True)
    for name in ("metrics.csv", "metrics.json", "mean.npy"):
        (run_dir / name).unlink(missing_ok=True)


def command_line(overrides: Sequence[str]) -> str:
    """The command that does this job alone."""
    return shlex.join(["convlens", *overrides])
