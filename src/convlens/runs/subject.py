"""Run directories: to work in one, and to have its network and data back from it."""

import io
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import torch
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf
from torch import nn

from convlens.data import ImageData, ShardedData
from convlens.errors import InputError
from convlens.io.atomic import write_bytes
from convlens.nets.weights import load_weights, read_weights
from convlens.runs.record import command_line, plain, recorded

log = logging.getLogger(__name__)

MEAN_IMAGE = "mean.npy"
"""The mean image of the training images, which a run's network takes from whatever it reads later."""
RANDOM_WEIGHTS = "random weights"


@dataclass(frozen=True)
class LoadedNetwork:
    """A network to look at, with the data it reads.

    Attributes:
        net: the network.
        data: its images.
        name: of the network.
        weights: the file they come from, or ``random weights``.
        built: what it was built with.
    """

    net: nn.Module
    data: ImageData
    name: str
    weights: str
    built: dict[str, Any]


@contextmanager
def open_run(cfg: DictConfig, overrides: Sequence[str], task: str, *, shared: bool = False) -> Iterator[Path]:
    """The directory in which a task writes: the run's, which keeps its own record, or a new one of its own.

    Where it is ``shared``, jobs of the same task work in it side by side and see to their files themselves.
    """
    run_dir = Path(cfg.run_dir)
    if cfg.run is not None:
        yield run_dir
        return
    with recorded(run_dir, cfg, task, command_line(overrides), shared=shared):
        yield run_dir


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


def build_data_and_net(cfg: DictConfig) -> tuple[ImageData | ShardedData, nn.Module]:
    """Data and network of a configuration; no image is read yet."""
    data = instantiate(cfg.data)
    return data, build_net(cfg, data.num_classes)


def build_net(cfg: DictConfig, num_classes: int) -> nn.Module:
    """The network, with the classes of the data where it is ours to choose: not if it comes with its weights."""
    return instantiate(cfg.model.net, **({"num_classes": num_classes} if sets_num_classes(cfg) else {}))


def sets_num_classes(cfg: DictConfig) -> bool:
    """Whether the network is built with the classes of the data."""
    target = str(cfg.model.net._target_)
    ours = target.startswith("convlens.") or (target.startswith("torchvision.models.") and not cfg.model.weights)
    return ours and "num_classes" not in cfg.model.net


def checkpoint_path(run_dir: Path, name: str = "best") -> Path:
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


def load_network(cfg: DictConfig, overrides: list[str]) -> LoadedNetwork:
    """The network that a task is asked to look at: of a run, or of ``model`` with its weights.

    With a run, the data are the run's unless the command names others.
    """
    if cfg.run is None:
        if cfg.model.get("init"):
            raise InputError("model.init is what a training begins from: give model.weights for a network to look at")
        torch.manual_seed(cfg.seed)  # random weights are the same in each process, and the next time
        data, net = build_data_and_net(cfg)
        if cfg.model.weights:
            load_weights(net, Path(cfg.model.weights).expanduser())
        weights = str(cfg.model.weights or cfg.model.net.get("weights") or RANDOM_WEIGHTS)
        return LoadedNetwork(net.eval(), require_images(data), str(cfg.model.name), weights, plain(cfg.model.net))
    run_dir = Path(cfg.run)
    if not (run_dir / "config.yaml").exists():
        raise InputError(f"{run_dir} is not a run directory (no config.yaml): give the directory of a training run")
    theirs: DictConfig = OmegaConf.load(run_dir / "config.yaml")  # type: ignore[assignment]
    path = checkpoint_path(run_dir)
    # Of the weights, since the run's own images may be gone: a classifier's last parameter has a value for each class.
    net = build_net(theirs, len(next(reversed(read_weights(path).values()))))
    load_weights(net, path)
    given = [o.lstrip("+~") for o in overrides]
    if any(o.startswith("data=") for o in given):
        # Other images, but as the network was taught to read them.
        kept = {n: theirs.data[n] for n in ("image_size", "stored_size", "fit", "mean", "std") if n in theirs.data}
        if kept.get("mean") == "train" and (run_dir / MEAN_IMAGE).exists():
            kept["mean"] = str(run_dir / MEAN_IMAGE)
        typed = {o.partition("=")[0] for o in given}
        data = instantiate(cfg.data, **{name: v for name, v in kept.items() if f"data.{name}" not in typed})
    else:
        edits = [o for o in given if o.startswith("data.")]
        data = instantiate(OmegaConf.merge(theirs, OmegaConf.from_dotlist(edits)).data)
    return LoadedNetwork(net.eval(), require_images(data), str(theirs.model.name), str(path), plain(theirs.model.net))


def save_mean_image(run_dir: Path, data: ImageData) -> None:
    """Keep the mean image with the run: its network takes that from other images, too."""
    content = io.BytesIO()
    np.save(content, data.stored_mean.numpy())
    write_bytes(run_dir / MEAN_IMAGE, content.getbuffer())


def require_images(data: ImageData | ShardedData) -> ImageData:
    """Data that an analysis can look at.

    Raises:
        InputError: they are shards.
    """
    if not isinstance(data, ImageData):
        raise InputError("data=shards is to train and to test with: give the data set that was packed, data=...")
    return data
