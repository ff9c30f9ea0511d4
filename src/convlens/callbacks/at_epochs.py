"""The base class of callbacks that act at chosen epochs, and access to the run's network, data and results."""

from collections.abc import Sequence
from pathlib import Path

import lightning as L
from torch import nn

from convlens.analysis.galleries.image_data import GalleryData
from convlens.errors import InputError

PAPER_EPOCHS = (1, 2, 5, 10, 20, 30, 40, 64)
PAPER_MAX_EPOCHS = 70


def paper_epochs(max_epochs: int) -> list[int]:
    """Return the paper's epochs 1, 2, 5, 10, 20, 30, 40, 64 of 70 (Fig 4), scaled to ``max_epochs``, and the last."""
    scaled = {round(epoch * max_epochs / PAPER_MAX_EPOCHS) for epoch in (*PAPER_EPOCHS, PAPER_MAX_EPOCHS)}
    return sorted({max(1, epoch) for epoch in scaled})


class AtEpochs(L.Callback):
    """Calls `act` at the end of chosen 1-based epochs, on the first process only and not in the sanity check.

    Args:
        epochs: 1-based epochs; None is the paper's, scaled to the length of the run, and its last epoch.

    Raises:
        InputError: at the start of training, if an epoch is outside of the run.
    """

    def __init__(self, epochs: Sequence[int] | None = None) -> None:
        self.chosen = None if epochs is None else sorted(set(epochs))

    def epochs(self, trainer: L.Trainer) -> Sequence[int]:
        """Return the epochs of this run at which the callback acts.

        Raises:
            InputError: an epoch is outside of the run.
        """
        return self.epochs_of(trainer.max_epochs or 1)

    def epochs_of(self, max_epochs: int) -> list[int]:
        """Return the epochs of a run of ``max_epochs`` epochs at which the callback acts.

        Raises:
            InputError: an epoch is outside of the run.
        """
        if self.chosen is None:
            return paper_epochs(max_epochs)
        if outside := [epoch for epoch in self.chosen if not 1 <= epoch <= max_epochs]:
            raise InputError(
                f"{type(self).__name__}: epoch {outside[0]} is outside the run's epochs 1..{max_epochs}: "
                "change the callback's epochs or trainer.max_epochs"
            )
        return self.chosen

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Check the epochs before training starts."""
        if stage == "fit":
            self.epochs(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Call `act` if this is one of the epochs."""
        epoch = trainer.current_epoch + 1
        if trainer.is_global_zero and not trainer.sanity_checking and epoch in self.epochs(trainer):
            self.act(trainer, pl_module, epoch)

    def act(self, trainer: L.Trainer, pl_module: L.LightningModule, epoch: int) -> None:
        """Do the callback's work at a chosen 1-based epoch; to be overridden."""
        raise NotImplementedError


def network(pl_module: L.LightningModule) -> nn.Module:
    """Return the network that is trained."""
    net = pl_module.net
    if not isinstance(net, nn.Module):
        raise TypeError(f"{type(pl_module).__name__}.net is no network")
    return net


def datamodule(trainer: L.Trainer) -> GalleryData:
    """Return the run's data module, which gives images without augmentation.

    Raises:
        InputError: the run has loaders without a data module.
    """
    data = getattr(trainer, "datamodule", None)
    if data is None or not hasattr(data, "plain_dataloader"):
        raise InputError(
            "drawing callbacks need trainer.fit(datamodule=convlens.data.ImageData(...)), not bare loaders or "
            "data=shards: give that, or add callbacks=none"
        )
    return data


def results_dir(trainer: L.Trainer, analysis: str) -> Path:
    """Return the folder of an analysis in the run directory."""
    return Path(trainer.default_root_dir) / "results" / analysis
