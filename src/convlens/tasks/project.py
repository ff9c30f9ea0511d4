"""``task=project``: what excites the maps of a network most, projected to the pixels."""

import logging
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig
from torch import nn

from convlens import runs
from convlens.callbacks.projections import draw_galleries, gallery_result
from convlens.errors import InputError
from convlens.files import write_json
from convlens.nets import ConvNet

log = logging.getLogger(__name__)


def run(
    cfg: DictConfig,
    overrides: list[str],
    *,
    layers: Sequence[str] | str | None,
    maps: int | None,
    split: str,
    images: int | None,
    k: int,
    rules: dict[str, Any],
) -> int:
    """Search the split, project, write ``results/projections``."""
    with runs.analysing(cfg, overrides, "project") as run_dir:
        subject = runs.subject(cfg, overrides)
        folder = run_dir / "results" / "projections"
        drawn = draw_galleries(
            subject.net,
            subject.data,
            [layers] if isinstance(layers, str) else list(layers or default_layers(subject.net)),
            folder / "best",
            title=f"{subject.name}, {split} images",
            split=split,
            images=images,
            maps=maps,
            k=k,
            rules=rules,
            progress=True,
        )
        write_json(folder / "result.json", gallery_result(drawn, folder, f"{split} images", k, rules))
    log.info("sheets of %s in %s", ", ".join(drawn.sheets), folder / "best")
    return 0


def default_layers(net: nn.Module) -> list[str]:
    """Our networks' convolutional layers; elsewhere the outermost blocks that hold a convolution.

    Raises:
        InputError: the network has no convolution.
    """
    if isinstance(net, ConvNet):
        return net.conv_names()
    names = []
    for name, child in net.named_children():
        parts = child.named_children() if isinstance(child, nn.Sequential) else [("", child)]
        for part, module in parts:
            if any(isinstance(m, nn.Conv2d) for m in module.modules()):
                names.append(f"{name}.{part}" if part else name)
    if not names:
        raise InputError(f"{type(net).__name__} has no convolution: name the layers with task.layers=[...]")
    return names
