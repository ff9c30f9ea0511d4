"""Result of the invariance analysis: arrays, figures, tables and claims (Fig 5)."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn import functional as F

from convlens.analysis.invariance.claims import invariance_claims, label_changes
from convlens.analysis.invariance.curves import Distance, Invariance
from convlens.analysis.invariance.transforms import Border, transform
from convlens.figures.invariance import TransformedImages, invariance_sheet, layers_sheet
from convlens.figures.png import save_png
from convlens.io.arrays import write_arrays
from convlens.stats.control_table import control_table
from convlens.stats.results import AnalysisResult, Figure, Number, Table

THUMBNAILS, THUMBNAIL_SIDE = 8, 56
"""Number of thumbnails in a row of the figure, and their side in pixels."""
Y_LABELS: Mapping[Distance, str] = {
    "raw": "distance",
    "relative": "distance / norm",
    "unit": "distance at unit length",
}


def save_curves(curves: Invariance, image_ids: Sequence[str], targets: Sequence[int], path: Path) -> None:
    """Write the curves of one transformation to an npz file.

    Distances are named ``<kind of distance>/<layer>``, pair distances ``pair_distance/<layer>``.

    Args:
        curves: of all images.
        image_ids: names of the images in the data.
        targets: class of each image whose probability was recorded.
        path: the file.
    """
    arrays: dict[str, ArrayLike] = {
        f"{name}/{layer}": rows.numpy() for layer, by_name in curves.distance.items() for name, rows in by_name.items()
    }
    arrays |= {f"pair_distance/{layer}": np.array(value) for layer, value in curves.pair_distance.items()}
    arrays |= {
        "values": curves.values,
        "image_ids": np.array(image_ids),
        "targets": np.array(targets),
        "probability": curves.probability.numpy(),
        "label": curves.label.numpy(),
        "clean_probability": curves.clean_probability.numpy(),
        "clean_label": curves.clean_label.numpy(),
    }
    write_arrays(path, arrays)


def draw_means(by_kind: Mapping[str, Invariance], distance: Distance, network_name: str, folder: Path) -> list[Figure]:
    """Draw means over all images: ``layers.png`` (distance by layer) and ``output.png`` (probability)."""
    values = {kind: curves.values for kind, curves in by_kind.items()}
    layers = {
        kind: {layer: by_name[distance].numpy() for layer, by_name in curves.distance.items()}
        for kind, curves in by_kind.items()
    }
    count = len(next(iter(by_kind.values())).probability)
    title = f"{network_name}: mean over {count} images, band: standard error"
    save_png(layers_sheet(layers, values, y_label=Y_LABELS[distance], title=title), folder / "layers.png")
    outputs = {kind: {"P(class)": curves.probability.numpy()} for kind, curves in by_kind.items()}
    save_png(layers_sheet(outputs, values, y_label="probability of the class", title=title), folder / "output.png")
    return [
        Figure("layers.png", "layers", f"distance by layer ({distance}), mean of all images"),
        Figure("output.png", "output", "probability of the class, mean of all images"),
    ]


def draw_images(
    by_kind: Mapping[str, Invariance],
    sources: Mapping[str, tuple[Sequence[Float[Tensor, "3 h w"]], Border]],
    names: Sequence[str],
    distance: Distance,
    size: int,
    network_name: str,
    folder: Path,
) -> Figure:
    """Draw single images as in Fig 5 to ``images.png``.

    Args:
        by_kind: curves by kind of transformation; their first images are drawn.
        sources: by kind, pixels in [0, 255] of the drawn images, and the content of pixels from outside of them.
        names: names of the drawn images' classes.
        distance: the distance that is drawn, of the first and the last layer.
        size: side of the transformed images in pixels.
        network_name: for the title.
        folder: the folder.
    """
    rows = []
    for kind, curves in by_kind.items():
        layers = list(curves.distance)
        images, border = sources[kind]
        panels = {
            f"{layer}: {Y_LABELS[distance]}": curves.distance[layer][distance][: len(names)].numpy()
            for layer in (layers[0], layers[-1])
        }
        panels["probability of the class"] = curves.probability[: len(names)].numpy()
        thumbnails = np.stack([_thumbnails(source, curves, border, size) for source in images])
        rows.append(TransformedImages(curves.kind, curves.values, names, thumbnails, panels))
    save_png(invariance_sheet(rows, title=f"{network_name}: {len(names)} images"), folder / "images.png")
    return Figure("images.png", "images", "single images, as in the paper")


def _thumbnails(source: Float[Tensor, "3 h w"], curves: Invariance, border: Border, size: int) -> np.ndarray:
    """Return small images [few, height, width, 3] at equally spaced values, as bytes."""
    count = min(THUMBNAILS, len(curves.values))
    values = curves.values[np.linspace(0, len(curves.values) - 1, count).round().astype(int)]
    transformed = transform(source, curves.kind, values, border=border, size=size)
    small = F.interpolate(transformed, size=(THUMBNAIL_SIDE, THUMBNAIL_SIDE), mode="bilinear", antialias=True)
    return small.round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()


def invariance_result(
    by_kind: Mapping[str, Invariance],
    *,
    distance: Distance,
    border: str,
    side: int,
    symmetric: Sequence[bool] | None,
    figures: Sequence[Figure],
    controls: Mapping[str, Mapping[str, Invariance]] | None = None,
) -> AnalysisResult:
    """Build the result from the curves of all images.

    Args:
        by_kind: curves by kind of transformation, with layers from first to top.
        distance: the distance that is drawn.
        border: content of pixels from outside the image, as the setting names it.
        side: side of the image in pixels.
        symmetric: for each image, whether its class has a rotational symmetry; None if that is unknown.
        figures: the figures that were drawn.
        controls: curves of the control networks by name, the fully randomized one last.
    """
    controls = controls or {}
    layers = list(next(iter(by_kind.values())).distance)
    rows: list[list[str | int | float | None]] = [
        [layer, *(float(np.nanmean(curves.distance[layer]["relative"].numpy())) for curves in by_kind.values())]
        for layer in layers
    ]
    first = "layer1" if "layer1" in layers else layers[0]  # the paper's layer 1 is its map after pooling
    decide = partial(invariance_claims, first=first, last=layers[-1], side=side, symmetric=symmetric)
    claims = decide(by_kind, control=list(controls.values())[-1] if controls else None)
    by_control = {name: decide(curves) for name, curves in controls.items()}
    return AnalysisResult(
        analysis="invariance",
        title="Invariance to translation, scale and rotation",
        reproduces="Fig 5",
        text=(
            "Distance between the features of the original and of the transformed image, by layer, and probability of "
            f"the class. Pixels from outside the image: {border}. The paper does not say how it scales distances: they "
            f"are drawn {distance}, and the arrays hold all three (raw, relative and unit)."
        ),
        numbers=[Number(f"label changes, {kind}", label_changes(curves), "%") for kind, curves in by_kind.items()],
        figures=figures,
        tables=[
            Table("Mean relative distance over all values", ["layer", *by_kind], rows),
            *control_table(claims, by_control),
        ],
        claims=claims,
    )
