"""Top-9 projections beside image patches at chosen epochs (paper, Fig 2)."""

from collections.abc import Sequence
from typing import Any

import lightning as L

from convlens.analysis.galleries.draw_galleries import GalleryJob, draw_galleries
from convlens.analysis.galleries.gallery import OWN, ProjectionVariant, projectors_of
from convlens.analysis.galleries.gallery_result import gallery_result
from convlens.analysis.galleries.selected_units import default_layers
from convlens.analysis.galleries.sheets import TABLE_COLUMNS
from convlens.callbacks.at_epochs import AtEpochs, datamodule, log_picture, log_table, results_dir
from convlens.deconv import find_layer
from convlens.errors import InputError
from convlens.io.atomic import write_json


class TopProjections(AtEpochs):
    """Searches a split for the nine strongest activations of each map and projects those of some maps to the pixels.

    Writes, per epoch and layer, a sheet and its numbers to ``results/projections/epoch_005/``, and shows the sheets
    and a table (layer, map, rank, image, activation, patch, projection) in the loggers that can.

    Args:
        epochs: 1-based; None takes the paper's, scaled to the run.
        layers: names; None takes the network's convolutional layers.
        maps: how many of a layer's maps are drawn (a fixed random choice, as in the paper); None draws all.
        split: where to search; the paper takes the images that were not trained on.
        images: search the first so many images only; None searches all.
        k: activations per map.
        rules: options of ``project``.
    """

    def __init__(
        self,
        epochs: Sequence[int] | None = None,
        layers: Sequence[str] | None = None,
        maps: int | None = 12,
        split: str = "val",
        images: int | None = 1000,
        k: int = 9,
        rules: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(epochs)
        self.layers, self.maps, self.split, self.images, self.k = layers, maps, split, images, k
        self.rules = rules or {}

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Make sure, before anything is trained, that the layers and images are there."""
        super().setup(trainer, pl_module, stage)
        net: Any = pl_module.net
        for layer in self.layers or ():
            find_layer(net, layer)
        if stage == "fit" and self.epochs(trainer) and not len(datamodule(trainer).dataset(self.split)):
            raise InputError(
                f"{type(self).__name__} searches the split {self.split!r}, which holds no image: "
                "raise data.val_share, or set callbacks.projections.split=train"
            )
        if stage == "fit" and self.epochs(trainer):
            image = datamodule(trainer).dataset(self.split)[0][0][None]
            layers = list(self.layers or default_layers(net, image.shape[-1]))
            projectors_of([ProjectionVariant(OWN, net, self.rules)], layers, image)

    def act(self, trainer: L.Trainer, pl_module: Any, epoch: int) -> None:
        """Search, project, draw, log."""
        net, data = pl_module.net, datamodule(trainer)
        folder = results_dir(trainer, "projections")
        layers = list(self.layers or default_layers(net, data.image_size))
        table = any(hasattr(logger, "log_table") for logger in trainer.loggers)
        job = GalleryJob(layers, self.split, self.images, self.maps, self.k, self.rules, keep=True, table=table)
        title = f"epoch {epoch}, {self.split} images"
        drawn = draw_galleries(net, data, job, folder / f"epoch_{epoch:03d}", title=title)
        assert drawn is not None
        for layer, path in drawn.sheets.items():
            log_picture(trainer, f"projections/{layer}", path, epoch, f"{layer}, epoch {epoch}")
        log_table(trainer, "projections/top", TABLE_COLUMNS, drawn.rows, epoch)
        write_json(
            folder / "result.json",
            gallery_result(drawn, folder, title, job),
        )
