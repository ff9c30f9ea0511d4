"""Fine-tuning: which weights a training begins from (``model.init``), and which layers are new."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import DictConfig
from torch import nn

from convlens.errors import InputError
from convlens.nets.weights import load_agreeing
from convlens.runs.subject import build_net, checkpoint_path, sets_num_classes


@dataclass(frozen=True)
class PretrainedInit:
    """What a training begins from.

    Attributes:
        loaded: names in the network's state dict, the backbone.
        said: one line about it; empty where there is nothing to say.
    """

    loaded: tuple[str, ...] = ()
    said: str = ""


def begin(cfg: DictConfig, net: nn.Module, classes: int) -> PretrainedInit:
    """Loads ``model.init`` into the network, but for the layers whose shape follows from the number of classes.

    A run that goes on after an epoch has its weights in its checkpoint; the file it began from may be gone.

    Raises:
        InputError: no weights there, or none of this network; or settings that exclude each other.
    """
    init, scale = cfg.model.get("init"), cfg.recipe.backbone_lr_scale
    if not isinstance(scale, int | float) or not 0 <= scale < float("inf"):
        raise InputError(f"recipe.backbone_lr_scale={scale}: give a number, 0 (frozen) to 1 (as the new layers)")
    if not init:
        if scale != 1:
            raise InputError(f"recipe.backbone_lr_scale={scale} is for loaded layers: give model.init, or leave it 1")
        return PretrainedInit()
    if cfg.model.weights:
        raise InputError("model.init and model.weights are both given: init begins with a new last layer, weights not")
    last = Path(cfg.run_dir) / "checkpoints" / "last.ckpt"
    if last.exists() and not cfg.force:
        return PretrainedInit(tuple(torch.load(last, map_location="cpu", weights_only=True).get("backbone", ())))
    path = Path(str(init)).expanduser()
    if path.is_dir():
        path = checkpoint_path(path)
    loaded = load_agreeing(net, path, new_layers(cfg, net, classes))
    names = list(net.state_dict())
    new = [name for name in names if name not in set(loaded)]
    said = f"{len(loaded)} of {len(names)} tensors begin as in {path}; new: {', '.join(new[:6]) or 'none'}"
    return PretrainedInit(tuple(loaded), said + (f" and {len(new) - 6} more" if len(new) > 6 else ""))


def new_layers(cfg: DictConfig, net: nn.Module, classes: int) -> Sequence[str]:
    """Names in the state dict whose shape follows from the number of classes: a network for one more has others.

    Where the number cannot be chosen, the last module that has parameters.
    """
    own = net.state_dict()
    if sets_num_classes(cfg):
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            larger = build_net(cfg, classes + 1).state_dict()
        return [name for name in own if own[name].shape != larger[name].shape]
    last = next(reversed(own)).rpartition(".")[0]
    return [name for name in own if name.rpartition(".")[0] == last]
