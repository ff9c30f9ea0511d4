"""Top-9 projections beside image patches at chosen epochs (paper, Fig 2)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
from PIL import Image
from torch import nn
from tqdm import tqdm

from convlens.analysis.gallery import LayerGallery, choose_maps, default_layers, layer_gallery
from convlens.callbacks.at_epochs import AtEpochs, datamodule, log_picture, log_table, results_dir
from convlens.deconv import find_layer, receptive_fields, top_activations
from convlens.errors import InputError
from convlens.figures.gallery import write_gallery
from convlens.figures.grid import panel_gain, signed_to_uint8, to_rgb
from convlens.files import write_json


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
        for layer in self.layers or ():
            find_layer(pl_module.net, layer)  # type: ignore[arg-type]
        if stage == "fit" and self.epochs(trainer) and not len(datamodule(trainer).dataset(self.split)):
            raise InputError(
                f"{type(self).__name__} searches the split {self.split!r}, which holds no image: "
                "raise data.val_share, or set callbacks.projections.split=train"
            )

    def act(self, trainer: L.Trainer, pl_module: Any, epoch: int) -> None:
        """Search, project, draw, log."""
        net, data = pl_module.net, datamodule(trainer)
        folder = results_dir(trainer, "projections")
        drawn = draw_galleries(
            net,
            data,
            list(self.layers or default_layers(net)),
            folder / f"epoch_{epoch:03d}",
            title=f"epoch {epoch}, {self.split} images",
            split=self.split,
            images=self.images,
            maps=self.maps,
            k=self.k,
            rules=self.rules,
        )
        for layer, path in drawn.sheets.items():
            log_picture(trainer, f"projections/{layer}", path, epoch, f"{layer}, epoch {epoch}")
        log_table(trainer, "projections/top", TABLE_COLUMNS, drawn.rows, epoch)
        write_json(
            folder / "result.json",
            gallery_result(drawn, folder, f"epoch {epoch}, {self.split} images", self.k, self.rules),
        )


@dataclass(frozen=True)
class Drawn:
    """Sheets by layer, the rows of the table, and how many of the maps never rise above zero."""

    sheets: dict[str, Path]
    rows: list[list[Any]]
    dead: dict[str, float]


def draw_galleries(
    net: nn.Module,
    data: Any,
    layers: list[str],
    folder: Path,
    *,
    title: str,
    split: str,
    images: int | None,
    maps: int | None,
    k: int,
    rules: dict[str, Any],
    progress: bool = False,
) -> Drawn:
    """Search a split, project, and write a sheet and its numbers for each layer."""
    loader = data.plain_dataloader(split, images)
    tops = top_activations(net, loader, layers, k, progress=progress)
    fields = receptive_fields(net, layers, (data.image_size, data.image_size))
    sheets: dict[str, Path] = {}
    rows: list[list[Any]] = []
    for layer in tqdm(layers, desc="projections", unit="layer", disable=None if progress else True):
        gallery = layer_gallery(
            net,
            loader.dataset,
            layer,
            tops[layer],
            fields[layer],
            maps=choose_maps(len(tops[layer].values), maps),
            to_display=data.to_display,
            **rules,
        )
        sheets[layer], _ = write_gallery(folder, layer, gallery_arrays(gallery), f"{layer}, {title}")
        rows += table_rows(gallery, lambda i: data.image_id(split, i))
    dead = {layer: 100 * float((top.values[:, 0] <= 0).float().mean()) for layer, top in tops.items()}
    return Drawn(sheets, rows, dead)


TABLE_COLUMNS = ["layer", "map", "rank", "image", "activation", "patch", "projection"]


def gallery_arrays(gallery: LayerGallery) -> dict[str, Any]:
    """A gallery's tensors as arrays, by name."""
    names = ("maps", "values", "images", "positions", "boxes", "projections", "patches")
    return {name: getattr(gallery, name).numpy() for name in names}


def table_rows(gallery: LayerGallery, image_id: Any) -> list[list[Any]]:
    """A row per activation above zero, with the patch and the projection as PIL images."""
    arrays = gallery_arrays(gallery)
    alive = arrays["values"] > 0
    gain = panel_gain(arrays["projections"][alive])
    rows = []
    for m, r in zip(*alive.nonzero(), strict=True):
        patch, projection = to_rgb(arrays["patches"][m, r]), signed_to_uint8(arrays["projections"][m, r], gain)
        pictures = [Image.fromarray(patch), Image.fromarray(to_rgb(projection))]
        activation = float(arrays["values"][m, r])
        image = image_id(int(arrays["images"][m, r]))
        rows.append([gallery.layer, int(arrays["maps"][m]), int(r) + 1, image, activation, *pictures])
    return rows


def gallery_result(drawn: Drawn, folder: Path, when: str, k: int, rules: Mapping[str, Any]) -> dict[str, Any]:
    """What the report reads."""
    options = "".join(f", {name} {value}" for name, value in rules.items() if name != "rule" and value is not None)
    return {
        "analysis": "projections",
        "title": "What excites the maps most",
        "reproduces": "Fig 2",
        "order": 30,
        "text": (
            f"For some maps of each layer ({when}), the {k} images that excite the map most: left the activation "
            f"projected down to the pixels (rule {rules.get('rule', 'deconvnet')}{options}), right the image patch in "
            "the unit's receptive field. One gain per layer; grey is zero."
        ),
        "numbers": [
            {"name": f"maps of {layer} that no image excites", "value": share, "unit": "%"}
            for layer, share in drawn.dead.items()
        ],
        "figures": [
            {"file": str(path.relative_to(folder)), "key": layer, "caption": f"{layer}, {when}"}
            for layer, path in drawn.sheets.items()
        ],
        "tables": [],
    }
