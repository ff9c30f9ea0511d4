"""First-layer filters as pictures, and the health of all conv filters as numbers (paper, Fig 6 a-c, section 3)."""

from collections.abc import Sequence
from typing import Any

import lightning as L
from torch import nn

from convlens.analysis.diagnosis.filter_health import filter_health
from convlens.callbacks.at_epochs import AtEpochs, log_picture, results_dir
from convlens.figures.filters import filters_sheet
from convlens.figures.png import save_png


class FirstFilters(AtEpochs):
    """Draws the filters of the first convolution on one common scale, to ``results/filters/epoch_005.png``."""

    def act(self, trainer: L.Trainer, pl_module: Any, epoch: int) -> None:
        """Draw, log."""
        name, conv = first_conv(pl_module.net)
        health = filter_health(conv.weight)
        title = f"{name}, epoch {epoch}"
        sheet = filters_sheet(conv.weight.detach().cpu().float().numpy(), title=title, dead=health.dead.cpu().numpy())
        path = save_png(sheet, results_dir(trainer, "filters") / f"epoch_{epoch:03d}.png")
        log_picture(trainer, "filters", path, epoch, title)


class FilterHealthLog(AtEpochs):
    """Logs, per conv layer, the RMS spread and the share of flat filters.

    Args:
        epochs: 1-based; None is every epoch.
    """

    def __init__(self, epochs: Sequence[int] | None = None) -> None:
        super().__init__(epochs)

    def epochs(self, trainer: L.Trainer) -> list[int]:
        """All epochs unless some were chosen: these numbers cost nothing."""
        if self.chosen is None:
            return list(range(1, (trainer.max_epochs or 1) + 1))
        return super().epochs(trainer)

    def act(self, trainer: L.Trainer, pl_module: Any, epoch: int) -> None:
        """Log."""
        for name, conv in convolutions(pl_module.net):
            health = filter_health(conv.weight)
            layer = name.removesuffix(".filter")
            pl_module.log(f"filters/{layer}_rms_spread", health.spread, rank_zero_only=True)
            pl_module.log(f"filters/{layer}_dead_share", health.dead_share, rank_zero_only=True)


def convolutions(net: nn.Module) -> list[tuple[str, nn.Conv2d]]:
    """All convolutions with their names, in the network's order."""
    return [(name, module) for name, module in net.named_modules() if isinstance(module, nn.Conv2d)]


def first_conv(net: nn.Module) -> tuple[str, nn.Conv2d]:
    """The convolution that reads the image; our own are named by their layer."""
    name, conv = convolutions(net)[0]
    return name.removesuffix(".filter"), conv
