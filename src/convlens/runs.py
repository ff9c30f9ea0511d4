"""Run directories: what a run was, how far it came, and its network and data back from it."""

import json
import logging
import shlex
import shutil
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
import torch
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf
from torch import nn

import convlens
from convlens.data import ImageData
from convlens.errors import InputError
from convlens.files import alone_in, write_bytes, write_json
from convlens.nets.weights import load_weights, read_weights

log = logging.getLogger(__name__)

# Keys that do not change what a run computes: it may be continued with others.
FREE_KEYS = (
    *("logger", "force", "cache_dir", "data_dir", "output_root", "run_dir", "job_name", "run", "task", "data.download"),
    *("data.cache_dir", "data.num_workers", "trainer.accelerator", "trainer.devices", "trainer.enable_model_summary"),
    *("trainer.enable_progress_bar", "trainer.log_every_n_steps", "trainer.num_sanity_val_steps", "trainer.profiler"),
)


@dataclass(frozen=True)
class Subject:
    """A network to look at, with the data it reads."""

    net: nn.Module
    data: ImageData
    name: str
    weights: str


def plain(cfg: DictConfig) -> dict[str, Any]:
    """The resolved configuration as plain values."""
    return OmegaConf.to_container(cfg, resolve=True)  # type: ignore[return-value]


def _settings(cfg: dict[str, Any]) -> dict[str, Any]:
    flat = _flat(json.loads(json.dumps(cfg)))
    return {key: value for key, value in flat.items() if not {key, key.partition(".")[0]} & set(FREE_KEYS)}


def read_json(path: Path) -> dict[str, Any]:
    """A json file's content; empty where there is none or it is damaged."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return {}


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
    old, new = (_settings(plain(OmegaConf.create(c))) for c in (OmegaConf.load(path), plain(cfg)))  # type: ignore[arg-type]
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) != new.get(key):
            raise InputError(
                f"{run_dir} holds a run with {key}={old.get(key)}, not {new.get(key)}: "
                "choose another run_dir, or force=true to do it anew"
            )


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, item in value.items():
        flat |= _flat(item, f"{prefix}.{key}" if prefix else str(key))
    return flat


@contextmanager
def recorded(run_dir: Path, cfg: DictConfig, task: str, command: str) -> Iterator[None]:
    """Keep ``config.yaml`` and ``run.json`` (status, command, seconds, error) while a job works in a run directory.

    A job that is refused in a new directory leaves nothing there.

    Raises:
        InputError: another process works there.
    """
    new = not (run_dir / "run.json").exists()
    with alone_in(run_dir):
        try:
            with _noted(run_dir, cfg, task, command):
                yield
        except InputError:
            if new and not any(run_dir.glob("checkpoints/*")) and not any(run_dir.glob("results/*/*")):
                clear(run_dir)
                for name in ("config.yaml", "run.json", "run.log"):
                    (run_dir / name).unlink(missing_ok=True)
            raise


@contextmanager
def _noted(run_dir: Path, cfg: DictConfig, task: str, command: str) -> Iterator[None]:
    write_bytes(run_dir / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(plain(cfg))).encode())
    before = read_json(run_dir / "run.json").get("seconds", 0.0)
    started = time.monotonic()
    (run_dir / "traceback.txt").unlink(missing_ok=True)

    def note(state: str, error: str | None = None) -> None:
        seconds = round(before + time.monotonic() - started, 1)
        record = {"task": task, "name": cfg.job_name, "status": state, "command": command, "seconds": seconds}
        write_json(run_dir / "run.json", record | {"error": error, "version": convlens.__version__})

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


@contextmanager
def analysing(cfg: DictConfig, overrides: Sequence[str], task: str) -> Iterator[Path]:
    """The directory in which a task writes: the run's, which keeps its own record, or a new one of its own."""
    run_dir = Path(cfg.run_dir)
    if cfg.run is not None:
        yield run_dir
        return
    with recorded(run_dir, cfg, task, command_line(overrides)):
        yield run_dir


def clear(run_dir: Path) -> None:
    """Remove what an earlier run left, so that nothing of it is continued or reported as the new one's."""
    for name in ("checkpoints", "results", "tensorboard", "wandb"):
        shutil.rmtree(run_dir / name, ignore_errors=True)
    for name in ("metrics.csv", "metrics.json"):
        (run_dir / name).unlink(missing_ok=True)


def instantiate(node: DictConfig, **given: Any) -> Any:
    """What a node of the configuration describes.

    Raises:
        InputError: its values do not fit; the message names the node.
    """
    try:
        return hydra.utils.instantiate(node, **given)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, InputError):
            raise cause from error
        if not isinstance(cause, TypeError | ValueError | ImportError):
            raise
        where = str(error).rpartition("full_key: ")[2].splitlines()[0]
        said = " ".join(str(cause).splitlines()[:2]) or type(cause).__name__
        raise InputError(f"{where} cannot be made from its settings ({said}): compare them with --cfg job") from error


def build(cfg: DictConfig) -> tuple[ImageData, nn.Module]:
    """Data and network of a configuration; no image is read yet."""
    data = instantiate(cfg.data)
    return data, build_net(cfg, data.num_classes)


def build_net(cfg: DictConfig, num_classes: int) -> nn.Module:
    """The network, with the classes of the data where it is ours to choose: not if it comes with its weights."""
    return instantiate(cfg.model.net, **({"num_classes": num_classes} if chooses_classes(cfg) else {}))


def chooses_classes(cfg: DictConfig) -> bool:
    """Whether the network is built with the classes of the data."""
    target = str(cfg.model.net._target_)
    ours = target.startswith("convlens.") or (target.startswith("torchvision.models.") and not cfg.model.weights)
    return ours and "num_classes" not in cfg.model.net


def checkpoint(run_dir: Path, name: str = "best") -> Path:
    """The checkpoint of that name; without a best one (no validation images) the last.

    Raises:
        InputError: there is none; the message lists those there are.
    """
    folder = run_dir / "checkpoints"
    for candidate in (name, "last") if name == "best" else (name,):
        if (path := folder / f"{candidate}.ckpt").exists():
            return path
    there = ", ".join(sorted(p.stem for p in folder.glob("*.ckpt"))) or "none yet: let the run finish an epoch"
    raise InputError(f"no checkpoint {name!r} in {folder}: there is {there}")


def subject(cfg: DictConfig, overrides: list[str]) -> Subject:
    """The network that a task is asked to look at: of a run, or of ``model`` with its weights.

    With a run, the data are the run's unless the command names others.
    """
    if cfg.run is None:
        if cfg.model.get("init"):
            raise InputError("model.init is what a training begins from: give model.weights for a network to look at")
        torch.manual_seed(cfg.seed)  # random weights are the same in each process, and the next time
        data, net = build(cfg)
        if cfg.model.weights:
            load_weights(net, Path(cfg.model.weights).expanduser())
        return Subject(net.eval(), data, str(cfg.model.name), str(cfg.model.weights or "random weights"))
    run_dir = Path(cfg.run)
    if not (run_dir / "config.yaml").exists():
        raise InputError(f"{run_dir} is not a run directory (no config.yaml): give the directory of a training run")
    theirs: DictConfig = OmegaConf.load(run_dir / "config.yaml")  # type: ignore[assignment]
    path = checkpoint(run_dir)
    # Of the weights, since the run's own images may be gone: a classifier's last parameter has a value for each class.
    net = build_net(theirs, len(next(reversed(read_weights(path).values()))))
    load_weights(net, path)
    given = [o.lstrip("+~") for o in overrides]
    if any(o.startswith("data=") for o in given):
        # Other images, but as the network was taught to read them.
        kept = {name: theirs.data[name] for name in ("image_size", "stored_size", "fit", "mean", "std")}
        typed = {o.partition("=")[0] for o in given}
        data = instantiate(cfg.data, **{name: v for name, v in kept.items() if f"data.{name}" not in typed})
    else:
        edits = [o for o in given if o.startswith("data.")]
        data = instantiate(OmegaConf.merge(theirs, OmegaConf.from_dotlist(edits)).data)
    return Subject(net.eval(), data, str(theirs.model.name), str(path))


def command_line(overrides: Sequence[str]) -> str:
    """The command that does this job alone."""
    return shlex.join(["convlens", *overrides])
