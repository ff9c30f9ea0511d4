"""How features and outputs change when images are moved, enlarged or turned, as the paper draws it (Fig 5)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from convlens.errors import InputError
from convlens.figures.style import GRID, INK, PAPER, colour
from convlens.figures.text import shorten_text

AXES = {
    "translation": "vertical translation (pixels)",
    "scale": "scale (ratio)",
    "rotation": "rotation (degrees)",
}


@dataclass(frozen=True)
class TransformedImages:
    """One row of the figure: one kind of transformation of several images.

    Attributes:
        kind: of the transformation.
        values: by how much.
        names: of the images.
        thumbnails: of each image, a few amounts from the first to the last.
        panels: by the label of the y axis, a value for each image and amount.
    """

    kind: str
    values: Float[np.ndarray, " t"]
    names: Sequence[str]
    thumbnails: UInt8[np.ndarray, "n few h w 3"]
    panels: Mapping[str, Float[np.ndarray, "n t"]]


def invariance_sheet(rows: Sequence[TransformedImages], *, title: str) -> Figure:
    """A row for each kind: thumbnails, then a panel for each measure with a line for each image.

    Raises:
        InputError: there is no row.
    """
    if not rows:
        raise InputError(f"{title}: no transformation to draw")
    count = len(rows[0].panels)
    figure = Figure(figsize=(3.6 + 3.7 * count, 3.1 * len(rows) + 0.7), layout="constrained", facecolor=PAPER[False])
    figure.suptitle(title, color=INK[False], fontsize=13, fontweight="bold")
    grid = figure.subplots(len(rows), 1 + count, squeeze=False, width_ratios=[1.3] + [1] * count)
    for letter, axes, row in zip("abc", grid, rows, strict=False):
        _thumbnails(axes[0], row, letter)
        for axis, (label, values) in zip(axes[1:], row.panels.items(), strict=True):
            for number, (name, line) in enumerate(zip(row.names, values, strict=True)):
                axis.plot(row.values, line, color=colour(number, False), label=shorten_text(name, 24), lw=1.5)
            _dress(axis, AXES.get(row.kind, row.kind), label, values)
    handles, labels = grid[0][1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(5, len(labels)), frameon=False, fontsize=9)
    return figure


def layers_sheet(
    bands: Mapping[str, Mapping[str, Float[np.ndarray, "n t"]]],
    values: Mapping[str, Float[np.ndarray, " t"]],
    *,
    y_label: str,
    title: str,
) -> Figure:
    """A panel for each kind: for each layer (or measure) the mean over the images, with a band of one standard error.

    Args:
        bands: by kind and layer, a value for each image and amount.
        values: by kind, the amounts.
        y_label: what is shown, with its unit.
        title: of the figure.
    """
    figure = Figure(figsize=(4.4 * len(bands), 4.3), layout="constrained", facecolor=PAPER[False])
    figure.suptitle(title, color=INK[False], fontsize=12, fontweight="bold")
    axes = figure.subplots(1, len(bands), squeeze=False)[0]
    for axis, (kind, layers) in zip(axes, bands.items(), strict=True):
        for number, (name, lines) in enumerate(layers.items()):
            mean = np.nanmean(lines, 0)
            error = np.nanstd(lines, 0) / np.sqrt(max(1, len(lines)))
            dashes = "-" if number < 10 else "--"
            axis.plot(values[kind], mean, color=colour(number, False), label=name, lw=1.5, linestyle=dashes)
            axis.fill_between(values[kind], mean - error, mean + error, color=colour(number, False), alpha=0.15, lw=0)
        _dress(axis, AXES.get(kind, kind), y_label if axis is axes[0] else "", np.zeros(1))
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(6, len(labels)), frameon=False, fontsize=9)
    return figure


def _thumbnails(axis: Axes, row: TransformedImages, letter: str) -> None:
    count, few, height, width = row.thumbnails.shape[:4]
    gap = max(1, width // 24)
    sheet = np.full((count * (height + gap) - gap, few * (width + gap) - gap, 3), 255, np.uint8)
    for i in range(count):
        for j in range(few):
            top, left = i * (height + gap), j * (width + gap)
            sheet[top : top + height, left : left + width] = row.thumbnails[i, j]
    axis.imshow(sheet)
    axis.set_title(f"({letter}) {row.kind}", fontsize=10, color=INK[False])
    axis.set_axis_off()


def _dress(axis: Axes, x_label: str, y_label: str, values: np.ndarray) -> None:
    axis.set_xlabel(x_label, fontsize=9, color=INK[False])
    axis.set_ylabel(y_label, fontsize=9, color=INK[False])
    axis.tick_params(labelsize=8, colors=INK[False])
    axis.grid(color=GRID[False], lw=0.7)
    axis.spines[["top", "right"]].set_visible(False)
    if not (values < 0).any():
        axis.set_ylim(bottom=0)
