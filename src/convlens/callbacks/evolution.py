"""The callback that draws the evolution of features during training (paper, Fig 4)."""

from collections.abc import Sequence
from math import ceil
from pathlib import Path

import lightning as L
import numpy as np

from convlens.analysis.evolution.epoch_record import epoch_record
from convlens.analysis.evolution.result import drawn_path, is_whole, state_path, write_evolution
from convlens.analysis.evolution.sampled_activations import sampled_activations
from convlens.analysis.galleries.array_store import remove_work
from convlens.callbacks.at_epochs import AtEpochs, datamodule, network, results_dir
from convlens.callbacks.log_media import log_image
from convlens.deconv.project import ProjectOptions
from convlens.io.arrays import read_arrays, write_arrays
from convlens.ops.default_layers import default_layers, sort_layers
from convlens.ops.layer_access import find_layer

MOST_STATES = 100
"""Most epochs whose activations are recorded, beside those that are drawn."""


class FeatureEvolution(AtEpochs):
    """Projects the strongest activation of some maps over the training images, searched again at each epoch.

    Writes the arrays of each drawn epoch to ``results/evolution/epoch_005.npz``, and from those of all epochs so far a
    sheet, in which a bar marks where the strongest image differs from the epoch drawn before. Before training and after
    each epoch it writes activations on fixed training images to ``results/evolution/states``: they tell when each layer
    converges (claims 8 and 9). A run that stops early is drawn at its last epoch, too.

    Args:
        epochs: 1-based epochs; None is the paper's, scaled to the run, and its last epoch.
        layers: names of layers; None is the network's convolutional layers.
        maps: how many maps per layer (paper: 6, chosen at random).
        images: search only the first so many training images; None searches all, as the paper does.
        rules: options of `convlens.project`.
    """

    def __init__(
        self,
        epochs: Sequence[int] | None = None,
        layers: Sequence[str] | None = None,
        maps: int = 6,
        images: int | None = None,
        rules: ProjectOptions | None = None,
    ) -> None:
        super().__init__(epochs)
        self.layers, self.maps, self.images, self.rules = layers, maps, images, rules or ProjectOptions()

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Check epochs and layers before training starts.

        Raises:
            InputError: an epoch is outside of the run, or a layer is unknown.
        """
        super().setup(trainer, pl_module, stage)
        for layer in self.layers or ():
            find_layer(network(pl_module), layer)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Record the state before training, unless a run is continued."""
        if trainer.global_step == 0:
            self._record_state(trainer, pl_module, 0)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Record the state after the epoch, and call `act` if it is one of the drawn epochs."""
        epoch = trainer.current_epoch + 1
        if epoch in self._states(trainer):
            self._record_state(trainer, pl_module, epoch)
        super().on_train_epoch_end(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw the last epoch of a run that stops early."""
        epoch = trainer.current_epoch
        if self.chosen is None and epoch not in self.epochs(trainer) and trainer.is_global_zero:
            if epoch not in self._states(trainer):  # else it was recorded at its end
                self._record_state(trainer, pl_module, epoch)
            self.act(trainer, pl_module, epoch)

    def _states(self, trainer: L.Trainer) -> set[int]:
        """Return the epochs whose activations are recorded."""
        length = max(1, trainer.max_epochs or 1)
        return {*range(0, length + 1, ceil(length / MOST_STATES)), *self.epochs(trainer)}

    def _record_state(self, trainer: L.Trainer, pl_module: L.LightningModule, epoch: int) -> None:
        """Write the activations on fixed training images."""
        if not trainer.is_global_zero or not self.epochs(trainer):
            return
        net, data = network(pl_module), datamodule(trainer)
        images = data.dataset("train", "centre", self.images)
        layers = self._layers(pl_module, data.image_size)
        write_arrays(state_path(results_dir(trainer, "evolution"), epoch), sampled_activations(net, images, layers))

    def _layers(self, pl_module: L.LightningModule, image_size: int) -> list[str]:
        """Return the layers in the network's order."""
        net = network(pl_module)
        return sort_layers(net, self.layers or default_layers(net, image_size))

    def act(self, trainer: L.Trainer, pl_module: L.LightningModule, epoch: int) -> None:
        """Search, project, draw the sheet and the curves of all epochs so far and log them."""
        folder = results_dir(trainer, "evolution")
        drawn = [e for e in self.epochs(trainer) if e < epoch and is_whole(drawn_path(folder, e))]
        arrays = self._draw(pl_module, trainer, folder, read_arrays(drawn_path(folder, drawn[-1])) if drawn else None)
        write_arrays(drawn_path(folder, epoch), arrays)
        states = [e for e in sorted({*self._states(trainer), epoch}) if e <= epoch and is_whole(state_path(folder, e))]
        captions = {"evolution": f"epochs {', '.join(map(str, [*drawn, epoch]))}"}
        for path in write_evolution(folder, [*drawn, epoch], states):
            caption = captions.get(path.stem, f"similarity to epoch {epoch}")
            log_image(trainer.loggers, path.stem, path, epoch, caption, trainer.global_step)

    def _draw(
        self, pl_module: L.LightningModule, trainer: L.Trainer, folder: Path, previous: dict[str, np.ndarray] | None
    ) -> dict[str, np.ndarray]:
        """Return the record of an epoch."""
        data, scratch = datamodule(trainer), folder / "partial"
        try:
            return epoch_record(
                network(pl_module),
                data,
                self._layers(pl_module, data.image_size),
                maps=self.maps,
                images=self.images,
                rules=self.rules,
                scratch=scratch,
                previous=previous,
            )
        finally:
            remove_work(scratch)
