"""Occlusion sheet (Fig 7): activation, probability and predicted class by position of the occluder."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from convlens.errors import InputError
from convlens.figures.style import COLORS, INK, PAPER
from convlens.figures.text import shorten_text

MAX_NAMED = 6
"""Number of predicted classes in the legend; the others share one entry."""


@dataclass(frozen=True)
class OccludedImage:
    """One row of the sheet.

    Attributes:
        image: the image.
        occluder: top, left and side of the occluder drawn into the image, in pixels.
        color: color of the occluder.
        heading: title of the row, such as the true label.
        centers: first and last row and first and last column of the occluder's center, in pixels.
        activation: of the feature map, at each position of the occluder; None leaves the panel empty.
        map_name: name of the feature map.
        tiles: projections of the map in this image (first) and in others, of equal size; may be empty.
        probability: of the target class, at each position.
        labels: the predicted class at each position.
        label_names: names of these classes.
        object_box: top, left, bottom and right of the object in pixels, if known.
    """

    image: UInt8[np.ndarray, "h w 3"]
    occluder: tuple[int, int, int]
    color: tuple[int, int, int]
    heading: str
    centers: tuple[float, float, float, float]
    activation: Float[np.ndarray, "rows columns"] | None
    map_name: str
    tiles: Sequence[UInt8[np.ndarray, "_ _ 3"]]
    probability: Float[np.ndarray, "rows columns"]
    labels: Int[np.ndarray, "rows columns"]
    label_names: dict[int, str]
    object_box: tuple[int, int, int, int] | None = None


def occlusion_sheet(rows: Sequence[OccludedImage], *, title: str) -> Figure:
    """Draw a row for each image: occluded image, activation, projections, probability, predicted class.

    Args:
        rows: the images with their maps.
        title: title of the figure.

    Raises:
        InputError: ``rows`` is empty.
    """
    if not rows:
        raise InputError(f"{title}: no image to draw")
    figure = Figure(figsize=(15.5, 2.9 * len(rows) + 0.6), layout="constrained", facecolor=PAPER[False])
    figure.suptitle(title, color=INK[False], fontsize=13, fontweight="bold")
    grid = figure.subplots(len(rows), 5, squeeze=False)
    headings = (
        "image and occluder",
        "activation of the map",
        "projections of the map",
        "probability",
        "predicted class",
    )
    for number, (axes, row) in enumerate(zip(grid, rows, strict=True)):
        _image(axes[0], row)
        _heat(figure, axes[1], row, row.activation, row.map_name)
        _tiles(axes[2], row)
        _heat(figure, axes[3], row, row.probability, "of the true class", top=1.0)
        _labels(axes[4], row)
        for letter, axis, heading in zip("abcde", axes, headings, strict=True):
            if number == 0:
                axis.set_title(f"({letter}) {heading}\n{axis.get_title()}", fontsize=10, color=INK[False])
            axis.set_xticks([])
            axis.set_yticks([])
    return figure


def _image(axis: Axes, row: OccludedImage) -> None:
    picture = row.image.copy()
    top, left, side = row.occluder
    picture[top : top + side, left : left + side] = row.color
    axis.imshow(picture)
    axis.set_title(shorten_text(row.heading, 34), fontsize=10)
    if row.object_box is not None:
        top, left, bottom, right = row.object_box
        frame = Rectangle((left - 0.5, top - 0.5), right - left, bottom - top, fill=False, edgecolor="#ff9f57", lw=1.5)
        axis.add_patch(frame)


def _heat(
    figure: Figure, axis: Axes, row: OccludedImage, values: np.ndarray | None, name: str, top: float | None = None
) -> None:
    if values is None:
        axis.set_axis_off()
        return
    first_row, last_row, first_column, last_column = row.centers
    height, width = row.image.shape[:2]
    extent = (first_column, last_column, last_row, first_row)
    shown = axis.imshow(values, cmap="viridis", vmin=0 if top else None, vmax=top, extent=extent, aspect="equal")
    axis.set_xlim(-0.5, width - 0.5)
    axis.set_ylim(height - 0.5, -0.5)
    axis.set_title(shorten_text(name, 30), fontsize=10)
    bar = figure.colorbar(shown, ax=axis, fraction=0.046, pad=0.02)
    bar.ax.tick_params(labelsize=8, colors=INK[False])


def _tiles(axis: Axes, row: OccludedImage) -> None:
    if not row.tiles:
        axis.set_axis_off()
        return
    height, width = row.tiles[0].shape[:2]
    gap = max(1, width // 40)
    sheet = np.full((2 * height + gap, 2 * width + gap, 3), 255, np.uint8)
    for number, tile in enumerate(row.tiles[:4]):
        top, left = (number // 2) * (height + gap), (number % 2) * (width + gap)
        sheet[top : top + height, left : left + width] = tile
    axis.imshow(sheet)
    axis.add_patch(Rectangle((-0.5, -0.5), width, height, fill=False, edgecolor="black", lw=2))
    axis.set_title("framed: this image; others: other images", fontsize=10)


def _labels(axis: Axes, row: OccludedImage) -> None:
    classes, counts = np.unique(row.labels, return_counts=True)
    named = classes[np.argsort(-counts, kind="stable")][:MAX_NAMED]
    colors = [*COLORS[False][:MAX_NAMED], "#c9ced6"]
    numbers = np.full(row.labels.shape, MAX_NAMED)
    for index, label in enumerate(named):
        numbers[row.labels == label] = index
    first_row, last_row, first_column, last_column = row.centers
    height, width = row.image.shape[:2]
    extent = (first_column, last_column, last_row, first_row)
    levels = ListedColormap(colors)
    axis.imshow(numbers, cmap=levels, vmin=-0.5, vmax=MAX_NAMED + 0.5, interpolation="nearest", extent=extent)
    axis.set_xlim(-0.5, width - 0.5)
    axis.set_ylim(height - 0.5, -0.5)
    entries = [
        Patch(color=colors[i], label=shorten_text(row.label_names.get(int(label), str(label)), 20))
        for i, label in enumerate(named)
    ]
    if len(classes) > MAX_NAMED:
        entries.append(Patch(color=colors[-1], label=f"{len(classes) - MAX_NAMED} others"))
    axis.legend(handles=entries, loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8, frameon=False)
