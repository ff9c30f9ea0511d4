"""Invariance sheet (Fig 5): changes of features and outputs under translation, scaling and rotation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from convlens.errors import InputError
from convlens.figures.style import GRID, INK, PAPER, color
from convlens.figures.text import shorten_text

AXES = {
    "translation": "vertical translation (pixels)",
    "scale": "scale (ratio)",
    "rotation": "rotation (degrees)",
}


@dataclass(frozen=True)
class TransformedImages:
    """One row of the sheet: one kind of transformation of several images.

    Attributes:
        kind: ``translation``, ``scale`` or ``rotation``.
        values: parameter values of the transformation, in pixels, as a ratio, or in degrees.
        names: names of the images.
        thumbnails: each image at a few of the values, from the first to the last.
        panels: label of the y axis to the values of each image and value.
    """

    kind: str
    values: Float[np.ndarray, " t"]
    names: Sequence[str]
    thumbnails: UInt8[np.ndarray, "n few h w 3"]
    panels: Mapping[str, Float[np.ndarray, "n t"]]


def invariance_sheet(rows: Sequence[TransformedImages], *, title: str) -> Figure:
    """Draw a row for each kind of transformation: thumbnails, then a panel for each measure (Fig 5 of the paper).

    Args:
        rows: the transformations; each image is a line in each panel.
        title: title of the figure.

    Raises:
        InputError: ``rows`` is empty.
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
                axis.plot(row.values, line, color=color(number, False), label=shorten_text(name, 24), lw=1.5)
            _style_axis(axis, AXES.get(row.kind, row.kind), label, values)
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
    """Draw a panel for each kind of transformation with the mean over images of each layer or measure.

    Bands show one standard error.

    Args:
        bands: for each kind and layer, a value for each image and amount.
        values: for each kind, the parameter values.
        y_label: label of the y axis, with the unit.
        title: title of the figure.
    """
    figure = Figure(figsize=(4.4 * len(bands), 4.3), layout="constrained", facecolor=PAPER[False])
    figure.suptitle(title, color=INK[False], fontsize=12, fontweight="bold")
    axes = figure.subplots(1, len(bands), squeeze=False)[0]
    for axis, (kind, layers) in zip(axes, bands.items(), strict=True):
        for number, (name, lines) in enumerate(layers.items()):
            mean = np.nanmean(lines, 0)
            error = np.nanstd(lines, 0) / np.sqrt(max(1, len(lines)))
            dashes = "-" if number < 10 else "--"
            axis.plot(values[kind], mean, color=color(number, False), label=name, lw=1.5, linestyle=dashes)
            axis.fill_between(values[kind], mean - error, mean + error, color=color(number, False), alpha=0.15, lw=0)
        _style_axis(axis, AXES.get(kind, kind), y_label if axis is axes[0] else "", np.zeros(1))
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


def _style_axis(axis: Axes, x_label: str, y_label: str, values: np.ndarray) -> None:
    axis.set_xlabel(x_label, fontsize=9, color=INK[False])
    axis.set_ylabel(y_label, fontsize=9, color=INK[False])
    axis.tick_params(labelsize=8, colors=INK[False])
    axis.grid(color=GRID[False], lw=0.7)
    axis.spines[["top", "right"]].set_visible(False)
    if not (values < 0).any():
        axis.set_ylim(bottom=0)
