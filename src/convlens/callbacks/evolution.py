"""Evolution of features during training (paper, Fig 4)."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lightning as L
import numpy as np

from convlens.analysis.galleries.gallery import OWN, Gallery, ProjectionVariant
from convlens.analysis.galleries.selected_units import SelectedUnits, default_layers, select_units
from convlens.callbacks.at_epochs import AtEpochs, datamodule, log_picture, results_dir
from convlens.deconv import find_layer, receptive_fields, top_activations
from convlens.figures.evolution import evolution_sheet
from convlens.figures.png import save_png, write_arrays
from convlens.io.atomic import write_json


class FeatureEvolution(AtEpochs):
    """Per map the projection of the strongest activation over the training images, searched anew at each epoch.

    Writes the numbers of each epoch to ``results/evolution/epoch_005.npz``, from which the sheet of all epochs up to
    now is drawn; a mark says where the strongest image is another one than at the epoch drawn before.

    Args:
        epochs: 1-based; None takes the paper's, scaled to the run.
        layers: names; None takes the network's convolutional layers.
        maps: how many maps per layer (paper: 6, chosen at random).
        images: search the first so many training images only; None searches all, as the paper does.
        rules: options of ``project``.
    """

    def __init__(
        self,
        epochs: Sequence[int] | None = None,
        layers: Sequence[str] | None = None,
        maps: int = 6,
        images: int | None = None,
        rules: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(epochs)
        self.layers, self.maps, self.images, self.rules = layers, maps, images, rules or {}

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Make sure, before anything is trained, that the layers are there."""
        super().setup(trainer, pl_module, stage)
        for layer in self.layers or ():
            find_layer(pl_module.net, layer)  # type: ignore[arg-type]

    def act(self, trainer: L.Trainer, pl_module: Any, epoch: int) -> None:
        """Search, project, draw the sheet anew, log."""
        net, data = pl_module.net, datamodule(trainer)
        layers = list(self.layers or default_layers(net, data.image_size))
        loader = data.plain_dataloader("train", self.images)
        tops = top_activations(net, loader, layers, 1, progress=False)
        fields = receptive_fields(net, layers, (data.image_size, data.image_size))
        arrays: dict[str, Any] = {"layers": np.array(layers)}
        chosen = [
            SelectedUnits.from_top_activations(layer, tops[layer], fields[layer], select_units(len(tops[layer].values), self.maps))
            for layer in layers
        ]
        with TemporaryDirectory() as scratch:
            own = ProjectionVariant(OWN, net, self.rules)
            gallery = Gallery(loader.dataset, chosen, [own], Path(scratch), data.to_display)
            gallery.prepare()
            gallery.make()
            for maps in chosen:
                pictures = gallery.pictures(maps, own)
                arrays[f"{maps.layer}/projections"] = np.stack([pictures[row] for row in range(len(pictures))])
                for name in ("maps", "values", "images"):
                    arrays[f"{maps.layer}/{name}"] = getattr(maps, name).numpy()
        folder = results_dir(trainer, "evolution")
        write_arrays(folder / f"epoch_{epoch:03d}.npz", arrays)
        past = [e for e in self.epochs(trainer) if e <= epoch and (folder / f"epoch_{e:03d}.npz").exists()]
        path = draw_evolution(folder, past)
        log_picture(trainer, "evolution", path, epoch, f"epochs {', '.join(map(str, past))}")


def draw_evolution(folder: Path, epochs: list[int]) -> Path:
    """Draw the sheet from the epochs' files and write what the report reads."""
    files = [np.load(folder / f"epoch_{epoch:03d}.npz") for epoch in epochs]
    layers = [str(layer) for layer in files[0]["layers"]]
    projections = {layer: np.stack([f[f"{layer}/projections"][:, 0] for f in files], 1) for layer in layers}
    strongest = {layer: np.stack([f[f"{layer}/images"][:, 0] for f in files], 1) for layer in layers}
    changed = {layer: np.diff(images, axis=1, prepend=images[:, :1]) != 0 for layer, images in strongest.items()}
    maps = {layer: files[0][f"{layer}/maps"].tolist() for layer in layers}
    path = save_png(evolution_sheet(projections, epochs, changed, maps=maps), folder / "evolution.png")
    share = {layer: 100 * float(c[:, 1:].mean()) if len(epochs) > 1 else float("nan") for layer, c in changed.items()}
    write_json(
        folder / "result.json",
        {
            "analysis": "evolution",
            "title": "Evolution of features during training",
            "reproduces": "Fig 4",
            "order": 40,
            "text": (
                "Each row is a map, each column an epoch: the projection of the map's strongest activation over the "
                "training images. A bar marks where the strongest image changed, the paper's reason for sudden jumps."
            ),
            "numbers": [
                {"name": f"strongest image changed between drawn epochs, {layer}", "value": value, "unit": "%"}
                for layer, value in share.items()
                if value == value
            ],
            "figures": [{"file": path.name, "key": "evolution", "caption": f"epochs {', '.join(map(str, epochs))}"}],
            "tables": [],
        },
    )
    return path
