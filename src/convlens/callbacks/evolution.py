"""The callback that draws the evolution of features during training (paper, Fig 4)."""

import logging
from collections.abc import Sequence
from pathlib import Path

import lightning as L
import numpy as np
from torch import nn

from convlens.analysis.galleries.array_store import remove_work
from convlens.analysis.galleries.gallery import Gallery
from convlens.analysis.galleries.image_data import GalleryData
from convlens.analysis.galleries.selected_units import SelectedUnits, select_units
from convlens.analysis.galleries.top_activations import top_activations
from convlens.analysis.galleries.variants import OWN, ProjectionVariant
from convlens.callbacks.at_epochs import AtEpochs, datamodule, network, results_dir
from convlens.callbacks.log_media import log_image
from convlens.deconv.project import ProjectOptions
from convlens.errors import DamagedError
from convlens.figures.evolution import evolution_sheet
from convlens.figures.png import save_png
from convlens.io.arrays import check_zip, read_arrays, write_arrays
from convlens.ops.default_layers import default_layers
from convlens.ops.layer_access import find_layer
from convlens.ops.receptive_field import receptive_fields
from convlens.stats.results import AnalysisResult, Figure, Number

log = logging.getLogger(__name__)


class FeatureEvolution(AtEpochs):
    """Projects the strongest activation of some maps over the training images, searched again at each epoch.

    Writes the arrays of each epoch to ``results/evolution/epoch_005.npz``, and from those of all epochs so far a sheet,
    in which a bar marks where the strongest image differs from the epoch drawn before.

    Args:
        epochs: 1-based epochs; None is the paper's, scaled to the run.
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

    def act(self, trainer: L.Trainer, pl_module: L.LightningModule, epoch: int) -> None:
        """Search, project, draw the sheet of all epochs so far and log it."""
        folder = results_dir(trainer, "evolution")
        scratch = folder / "partial"
        try:
            arrays = self.project(network(pl_module), datamodule(trainer), scratch)
        finally:
            remove_work(scratch)
        write_arrays(folder / f"epoch_{epoch:03d}.npz", arrays)
        drawn = [e for e in self.epochs(trainer) if e <= epoch and _is_whole(folder / f"epoch_{e:03d}.npz")]
        path = draw_evolution(folder, drawn)
        log_image(
            trainer.loggers, "evolution", path, epoch, f"epochs {', '.join(map(str, drawn))}", trainer.global_step
        )

    def project(self, net: nn.Module, data: GalleryData, scratch: Path) -> dict[str, np.ndarray]:
        """Search the training images and project each map's strongest activation.

        Args:
            net: the network.
            data: the images.
            scratch: folder for intermediate arrays, beside the results: a temporary folder may have less room.

        Returns:
            ``layers``, the names; and of each layer ``<layer>/projections`` [maps, 1, c, h, w], ``<layer>/maps``
            [maps], ``<layer>/values`` and ``<layer>/images`` [maps, 1].
        """
        layers = list(self.layers or default_layers(net, data.image_size))
        loader = data.plain_dataloader("train", self.images)
        tops = top_activations(net, loader, layers, 1, progress=False)
        fields = receptive_fields(net, layers, (data.image_size, data.image_size))
        selected = []
        for layer in layers:
            maps = select_units(len(tops[layer].values), self.maps)
            selected.append(SelectedUnits.from_top_activations(layer, tops[layer], fields[layer], maps))
        arrays: dict[str, np.ndarray] = {"layers": np.array(layers)}
        own = ProjectionVariant(OWN, net, self.rules)
        images = data.dataset("train", "centre", self.images)
        gallery = Gallery(images, selected, [own], scratch, data.to_display)
        gallery.create_files()
        gallery.make()
        for units in selected:
            stored = gallery.projections(units, own)
            arrays[f"{units.layer}/projections"] = np.stack([stored[row] for row in range(len(stored))])
            arrays[f"{units.layer}/maps"] = units.maps.numpy()
            arrays[f"{units.layer}/values"] = units.values.numpy()
            arrays[f"{units.layer}/images"] = units.images.numpy()
        return arrays


def _is_whole(path: Path) -> bool:
    """Return whether the arrays of an epoch are there; with a warning if they are damaged."""
    try:
        check_zip(path)
    except FileNotFoundError:
        return False
    except DamagedError as error:
        log.warning("%s: the epoch is left out", error)
        return False
    return True


def draw_evolution(folder: Path, epochs: Sequence[int]) -> Path:
    """Draw the sheet from the epochs' files, write ``result.json`` and return the sheet's path."""
    files = [read_arrays(folder / f"epoch_{epoch:03d}.npz") for epoch in epochs]
    layers = [str(layer) for layer in files[0]["layers"]]
    projections = {layer: np.stack([f[f"{layer}/projections"][:, 0] for f in files], 1) for layer in layers}
    strongest = {layer: np.stack([f[f"{layer}/images"][:, 0] for f in files], 1) for layer in layers}
    changed = {layer: np.diff(images, axis=1, prepend=images[:, :1]) != 0 for layer, images in strongest.items()}
    maps = {layer: files[0][f"{layer}/maps"].tolist() for layer in layers}
    path = save_png(evolution_sheet(projections, epochs, changed, maps=maps), folder / "evolution.png")
    shares = {layer: 100 * float(c[:, 1:].mean()) for layer, c in changed.items()} if len(epochs) > 1 else {}
    AnalysisResult(
        analysis="evolution",
        title="Evolution of features during training",
        reproduces="Fig 4",
        text=(
            "Each row is a map, each column an epoch: the projection of the map's strongest activation over the "
            "training images. A bar marks where the strongest image changed, the paper's reason for sudden jumps."
        ),
        numbers=[
            Number(f"strongest image changed between drawn epochs, {layer}", share, "%")
            for layer, share in shares.items()
        ],
        figures=[Figure(path.name, "evolution", f"epochs {', '.join(map(str, epochs))}")],
    ).write(folder)
    return path
