"""Fine-tuning: load the weights that a training starts from (``model.pretrained``), except for new layers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import DictConfig
from torch import nn

from convlens.errors import InputError
from convlens.nets.weights import load_matching, read_checkpoint
from convlens.runs.subject import build_net, checkpoint_path, sets_num_classes

SHOWN = 6
"""Number of new tensors that are named."""


@dataclass(frozen=True)
class PretrainedInit:
    """The weights that a training starts from.

    Attributes:
        loaded: names of the loaded tensors in the network's state dict: the backbone.
        message: one line about them; empty if nothing was loaded now.
    """

    loaded: tuple[str, ...] = ()
    message: str = ""


def load_pretrained(cfg: DictConfig, net: nn.Module, num_classes: int) -> PretrainedInit:
    """Load ``model.pretrained`` into the network, except for the layers whose shape follows from the classes.

    A run that continues after an epoch has its weights in its checkpoint; the original file may be gone.

    Args:
        cfg: the composed configuration.
        net: the network, changed in place.
        num_classes: number of classes it is built for.

    Raises:
        InputError: the file holds no weights of this network, or settings exclude each other.
    """
    source, scale = cfg.model.pretrained, cfg.recipe.backbone_lr_scale
    if not source:
        if scale != 1:
            raise InputError(
                f"recipe.backbone_lr_scale={scale} is for loaded layers: give model.pretrained, or leave it 1"
            )
        return PretrainedInit()
    if cfg.model.weights:
        raise InputError(
            "model.pretrained and model.weights are both given: pretrained starts with a new last layer, weights not"
        )
    last = Path(cfg.run_dir) / "checkpoints" / "last.ckpt"
    if last.exists() and not cfg.force:
        return PretrainedInit(tuple(read_checkpoint(last).get("backbone", ())))
    path = Path(str(source)).expanduser()
    if path.is_dir():
        path = checkpoint_path(path)
    loaded = load_matching(net, path, new_layers(cfg, net, num_classes))
    return PretrainedInit(tuple(loaded), _message(path, list(net.state_dict()), set(loaded)))


def _message(path: Path, names: Sequence[str], loaded: set[str]) -> str:
    new = [name for name in names if name not in loaded]
    more = f" and {len(new) - SHOWN} more" if len(new) > SHOWN else ""
    return f"{len(loaded)} of {len(names)} tensors loaded from {path}; new: {', '.join(new[:SHOWN]) or 'none'}{more}"


def new_layers(cfg: DictConfig, net: nn.Module, num_classes: int) -> list[str]:
    """Return the names of the tensors whose shape follows from the number of classes.

    They are found by building the network for one class more. If the number cannot be chosen, they are those of the
    last module with parameters.
    """
    own = net.state_dict()
    if sets_num_classes(cfg):
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            larger = build_net(cfg, num_classes + 1).state_dict()
        return [name for name in own if own[name].shape != larger[name].shape]
    last = next(reversed(own)).rpartition(".")[0]
    return [name for name in own if name.rpartition(".")[0] == last]
