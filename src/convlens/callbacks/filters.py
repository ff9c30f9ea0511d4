"""Callbacks for first-layer filters as pictures and filter health as numbers (paper, Fig 6 a-c and section 3)."""

from collections.abc import Sequence

import lightning as L
from torch import nn

from convlens.analysis.diagnosis.filter_health import filter_health
from convlens.callbacks.at_epochs import AtEpochs, network, results_dir
from convlens.callbacks.log_media import log_image
from convlens.figures.filters import filters_sheet
from convlens.figures.png import save_png


class FirstFilters(AtEpochs):
    """Draws the filters of the first convolution with one common scale to ``results/filters/epoch_005.png``."""

    def act(self, trainer: L.Trainer, pl_module: L.LightningModule, epoch: int) -> None:
        """Draw and log the filters."""
        name, conv = first_conv(network(pl_module))
        health = filter_health(conv.weight)
        title = f"{name}, epoch {epoch}"
        sheet = filters_sheet(conv.weight.detach().cpu().float().numpy(), title=title, dead=health.dead.cpu().numpy())
        path = save_png(sheet, results_dir(trainer, "filters") / f"epoch_{epoch:03d}.png")
        log_image(trainer.loggers, "filters", path, epoch, title, trainer.global_step)


class FilterHealthLog(AtEpochs):
    """Logs the RMS spread and the percentage of dead filters of each convolution, as `filter_health` defines them.

    Args:
        epochs: 1-based epochs; None is every epoch.
    """

    def __init__(self, epochs: Sequence[int] | None = None) -> None:
        super().__init__(epochs)

    def epochs(self, trainer: L.Trainer) -> Sequence[int]:
        """Return the chosen epochs, or all: computing these numbers takes no time."""
        if self.chosen is None:
            return range(1, (trainer.max_epochs or 1) + 1)
        return super().epochs(trainer)

    def act(self, trainer: L.Trainer, pl_module: L.LightningModule, epoch: int) -> None:
        """Log the numbers of each convolution."""
        for name, conv in convolutions(network(pl_module)):
            health = filter_health(conv.weight)
            layer = name.removesuffix(".filter")
            pl_module.log(f"filters/{layer}_rms_spread", health.spread, rank_zero_only=True)
            pl_module.log(f"filters/{layer}_dead_share", health.dead_share, rank_zero_only=True)


def convolutions(net: nn.Module) -> list[tuple[str, nn.Conv2d]]:
    """Return all convolutions with their names, in the network's order."""
    return [(name, module) for name, module in net.named_modules() if isinstance(module, nn.Conv2d)]


def first_conv(net: nn.Module) -> tuple[str, nn.Conv2d]:
    """Return the first convolution and its name, of a `ConvNet` the name of the layer."""
    name, conv = convolutions(net)[0]
    return name.removesuffix(".filter"), conv
