"""The network that a task analyses: load it from a run, or build it with weights, together with its data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
import torch
from hydra.errors import InstantiationException
from jaxtyping import Float
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from convlens.data import ImageData, ShardedData
from convlens.errors import DamagedError, InputError
from convlens.io.arrays import check_zip, read_array, write_array
from convlens.nets.weights import load_weights, read_weights
from convlens.runs.config_check import check_node
from convlens.runs.config_errors import torchvision_model
from convlens.runs.record_file import read_record
from convlens.runs.run_config import plain
from convlens.runs.trust import trusted_config

MEAN_IMAGE = "mean.npy"
"""File of a run with the mean image of its training images, which is subtracted from all images its network reads."""
RANDOM_WEIGHTS = "random weights"
PREPROCESSING = ("image_size", "stored_size", "resize_mode", "mean", "std")
"""Settings of the data that a network expects, also of other images than those it was trained on."""


@dataclass(frozen=True)
class LoadedNetwork:
    """A network in evaluation mode, with the data it reads.

    Attributes:
        net: the network.
        data: its images.
        name: name of the network.
        weights: the file they come from, or ``random weights``.
        built: the settings of the network's constructor.
        class_names: the classes it was trained on, in the order of its outputs; None if they are not known.
    """

    net: nn.Module
    data: ImageData
    name: str
    weights: str
    built: Mapping[str, object]
    class_names: Sequence[str] | None = None

    def __repr__(self) -> str:
        return f"LoadedNetwork({self.name}, weights={self.weights})"

    def preprocess(self, pixels: Float[Tensor, "*n 3 c c"]) -> Float[Tensor, "*n 3 c c"]:
        """Return network input for centre crops whose pixels are in [0, 255]: (pixels - mean) / std."""
        mean, std = self.data.mean, self.data.std[:, None, None]
        return (pixels - mean.to(pixels)) / std.to(pixels)


LIBRARIES = ("convlens", "torch", "torchvision", "timm", "lightning")
"""Packages whose constructors raise errors for settings that do not suit them; torch's too little memory is one."""
REFUSALS = (TypeError, ValueError, ImportError)
"""Errors of a user's constructor for unsuitable settings; another one is of the user's module, with its traceback."""


def instantiate(node: DictConfig, **given: object) -> Any:
    """Make the object that a node of the configuration describes.

    Args:
        node: settings with a ``_target_``.
        given: further keywords of the target.

    Raises:
        InputError: the target refuses the settings; the message names the node.
    """
    try:
        return hydra.utils.instantiate(node, **given)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, InputError):
            raise cause from error
        if not isinstance(cause, REFUSALS) and str(node._target_).partition(".")[0] not in LIBRARIES:
            raise
        where = str(error).rpartition("full_key: ")[2].splitlines()[0]
        reason = " ".join(str(cause).splitlines()[:2]) or type(cause).__name__
        if (name := str(node.get("name", ""))) and reason == f"Unknown model {name}":  # torchvision's
            near = torchvision_model(name)
            guess = f"did you mean {where}.name={near}? " if near else ""
            raise InputError(f"{where}.name={name} is unknown: {guess}see torchvision.models.list_models()") from error
        raise InputError(f"{where} cannot be made from its settings ({reason}): compare them with --cfg job") from error


def build_data_and_net(cfg: DictConfig) -> tuple[ImageData | ShardedData, nn.Module]:
    """Build the data and the network of a configuration; no image is read yet."""
    data = instantiate(cfg.data)
    return data, build_net(cfg, data.num_classes)


def build_net(cfg: DictConfig, num_classes: int) -> nn.Module:
    """Build the network of a configuration; ``num_classes`` is ignored where `sets_num_classes` is false."""
    net: nn.Module = instantiate(cfg.model.net, **({"num_classes": num_classes} if sets_num_classes(cfg) else {}))
    return net


def sets_num_classes(cfg: DictConfig) -> bool:
    """Return whether the network is built with the classes of the data, not with those of the weights it brings."""
    target = str(cfg.model.net._target_)
    known = target.startswith("convlens.") or (target.startswith("torchvision.models.") and not cfg.model.weights)
    return known and "num_classes" not in cfg.model.net


def checkpoint_path(run_dir: Path, name: str = "best") -> Path:
    """Return the path of a checkpoint; ``last`` in place of ``best`` if there were no validation images.

    Raises:
        InputError: there is no such checkpoint; the message lists those that exist.
    """
    folder = run_dir / "checkpoints"
    for candidate in (name, "last") if name == "best" else (name,):
        if (path := folder / f"{candidate}.ckpt").exists():
            return path
    names = ", ".join(sorted(p.stem for p in folder.glob("*.ckpt"))) or "none yet: let the run finish an epoch"
    raise InputError(f"no checkpoint {name!r} in {folder}: there is {names}")


def load_network(cfg: DictConfig, overrides: Sequence[str]) -> LoadedNetwork:
    """Load the network that a task analyses: that of ``run``, or that of ``model`` with its weights.

    With ``run``, the data are those of the run unless the command names others.

    Args:
        cfg: the composed configuration.
        overrides: of the command.

    Raises:
        InputError: ``run`` is not a run directory, or the weights are missing or another network's.
    """
    return _build_model(cfg) if cfg.run is None else _load_run(cfg, overrides)


def _build_model(cfg: DictConfig) -> LoadedNetwork:
    if cfg.model.pretrained:
        raise InputError("model.pretrained is for fine-tuning: give model.weights for a network to analyse")
    torch.manual_seed(cfg.seed)  # random weights are equal in all processes and repetitions
    data, net = build_data_and_net(cfg)
    if cfg.model.weights:
        load_weights(net, Path(cfg.model.weights).expanduser())
    weights = str(cfg.model.weights or cfg.model.net.get("weights") or RANDOM_WEIGHTS)
    return LoadedNetwork(net.eval(), require_images(data), str(cfg.model.name), weights, plain(cfg.model.net))


def _load_run(cfg: DictConfig, overrides: Sequence[str]) -> LoadedNetwork:
    run_dir = Path(cfg.run)
    recorded_cfg = trusted_config(run_dir, cfg.trust, cfg.cache_dir)
    path = checkpoint_path(run_dir)
    try:
        check_zip(path)
    except DamagedError as error:
        raise InputError(f"{error}: give the command of the run again, which goes on from what is whole") from None
    record = read_record(run_dir)
    net = build_net(recorded_cfg, record.get("num_classes") or _output_count(path))
    load_weights(net, path)
    data = _data_of_run(run_dir, recorded_cfg, cfg, overrides)
    model, names = recorded_cfg.model, [str(name) for name in record.get("class_names", ())] or None
    return LoadedNetwork(net.eval(), require_images(data), str(model.name), str(path), plain(model.net), names)


def _output_count(path: Path) -> int:
    """Return the number of classes that weights suggest: the length of the last tensor that is not a scalar."""
    tensors = [value for value in read_weights(path).values() if isinstance(value, Tensor) and value.ndim > 0]
    if not tensors:
        raise InputError(f"{path} holds no weights: give the checkpoint of a network")
    return len(tensors[-1])


def _data_of_run(
    run_dir: Path, recorded_cfg: DictConfig, cfg: DictConfig, overrides: Sequence[str]
) -> ImageData | ShardedData:
    """Return the data of a run with the command's edits, or other data with the preprocessing of the run's network."""
    given = [override.lstrip("+~") for override in overrides]
    if not any(override.startswith("data=") for override in given):
        edits = [override for override in given if override.startswith("data.")]
        edited = OmegaConf.merge(recorded_cfg, OmegaConf.from_dotlist(edits))
        assert isinstance(edited, DictConfig)
        check_node(edited, "data")
        return instantiate(edited.data)
    expected = {name: recorded_cfg.data[name] for name in PREPROCESSING if name in recorded_cfg.data}
    if expected.get("mean") == "train" and (run_dir / MEAN_IMAGE).exists():
        expected["mean"] = str(run_dir / MEAN_IMAGE)
        if not expected.get("stored_size"):  # shards have no such setting
            expected["stored_size"] = _stored_size(run_dir / MEAN_IMAGE)
    typed = {override.partition("=")[0] for override in given}
    kept = {name: value for name, value in expected.items() if f"data.{name}" not in typed}
    return instantiate(cfg.data, **kept)


def _stored_size(path: Path) -> int:
    """Return the side of a run's mean image.

    Raises:
        InputError: the file is damaged.
    """
    try:
        return int(read_array(path).shape[-1])
    except (OSError, InputError) as error:
        raise InputError(f"{error}: give the command of the run again, which writes it anew") from None


def save_mean_image(run_dir: Path, data: ImageData | ShardedData) -> None:
    """Write the mean image of the training images into the run directory."""
    write_array(run_dir / MEAN_IMAGE, data.stored_mean.numpy())


def require_images(data: ImageData | ShardedData) -> ImageData:
    """Return data that an analysis can read.

    Raises:
        InputError: they are shards.
    """
    if not isinstance(data, ImageData):
        raise InputError(
            "data=shards is for training and testing: give the data set the shards were made from, data=..."
        )
    return data
