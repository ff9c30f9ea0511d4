"""The callback that draws the strongest activations and their projections at chosen epochs (paper, Fig 2)."""

from collections.abc import Sequence

import lightning as L

from convlens.analysis.galleries.draw_galleries import draw_galleries
from convlens.analysis.galleries.gallery_result import gallery_result, rounded_seconds
from convlens.analysis.galleries.image_data import image_at
from convlens.analysis.galleries.job import GalleryJob
from convlens.analysis.galleries.selected_units import DEFAULT_MAPS
from convlens.analysis.galleries.sheets import TABLE_COLUMNS
from convlens.analysis.galleries.variants import OWN, ProjectionVariant, make_projectors
from convlens.callbacks.at_epochs import AtEpochs, datamodule, network, results_dir
from convlens.callbacks.log_media import log_image, log_table
from convlens.deconv.project import ProjectOptions
from convlens.errors import InputError
from convlens.ops.default_layers import default_layers
from convlens.ops.layer_access import find_layer


class TopProjections(AtEpochs):
    """Searches a split for the strongest activations of each map and projects those of some maps to the pixels.

    Writes, for each epoch and layer, a sheet and its arrays to ``results/projections/epoch_005/``. Loggers that support
    it get the sheets and a table of layer, map, rank, image, label, activation, patch, projection and whole image.

    Args:
        epochs: 1-based epochs; None is the paper's, scaled to the run.
        layers: names of layers; None is the network's convolutional layers.
        maps: how many of a layer's maps are drawn (a fixed random choice, as in the paper); None draws all.
        split: split that is searched; the paper searches images that were not trained on.
        images: search only the first so many images; None searches all.
        k: activations per map.
        rules: options of `convlens.project`.
    """

    def __init__(
        self,
        epochs: Sequence[int] | None = None,
        layers: Sequence[str] | None = None,
        maps: int | None = DEFAULT_MAPS,
        split: str = "val",
        images: int | None = 1000,
        k: int = 9,
        rules: ProjectOptions | None = None,
    ) -> None:
        super().__init__(epochs)
        self.layers, self.maps, self.split, self.images, self.k = layers, maps, split, images, k
        self.rules = rules or ProjectOptions()

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Check layers, images and rules before training starts.

        Raises:
            InputError: an unknown layer, an empty split, or a layer that cannot be projected.
        """
        super().setup(trainer, pl_module, stage)
        net = network(pl_module)
        for layer in self.layers or ():
            find_layer(net, layer)
        if stage != "fit" or not self.epochs(trainer):
            return
        dataset = datamodule(trainer).dataset(self.split)
        if not len(dataset):
            raise InputError(
                f"{type(self).__name__} searches the split {self.split!r}, which holds no image: "
                "raise data.val_share, or set callbacks.projections.split=train"
            )
        image = image_at(dataset, 0)[None]
        layers = list(self.layers or default_layers(net, image.shape[-1]))
        make_projectors([ProjectionVariant(OWN, net, self.rules)], layers, image)

    def act(self, trainer: L.Trainer, pl_module: L.LightningModule, epoch: int) -> None:
        """Search, project, write and log."""
        net, data = network(pl_module), datamodule(trainer)
        folder = results_dir(trainer, "projections")
        job = GalleryJob(
            layers=list(self.layers or default_layers(net, data.image_size)),
            split=self.split,
            maps=self.maps,
            images=self.images,
            k=self.k,
            rules=self.rules,
            table=any(hasattr(logger, "log_table") for logger in trainer.loggers),
            keep=True,
        )
        title = f"epoch {epoch}, {self.split} images"
        files = draw_galleries(net, data, job, folder / f"epoch_{epoch:03d}", title=title)
        assert files is not None
        for layer, path in files.sheets.items():
            caption = f"{layer}, epoch {epoch}"
            log_image(trainer.loggers, f"projections/{layer}", path, epoch, caption, trainer.global_step)
        log_table(trainer.loggers, "projections/top", TABLE_COLUMNS, files.rows, epoch, trainer.global_step)
        gallery_result(files, folder, title, job).write(folder, seconds=rounded_seconds(files))
