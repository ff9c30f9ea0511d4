"""Plots of transfer results: score by layer, score by number of images (Fig 9), confusion matrix, example images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from convlens.figures.style import DASHES, GRID, INK, PAPER, color, finish, line_handles, marker, panels

MAX_LABELS = 30
"""With more classes, the axes of a confusion matrix show only every n-th name."""


@dataclass(frozen=True)
class ScoreCurve:
    """A curve of scores in percent.

    Attributes:
        group: curves of a group share their color.
        kind: curves of a kind share their line style.
        x: index of the layer, or images per class.
        y: scores; NaN if missing.
        spread: half-widths of the error bars; NaN if missing.
    """

    group: str
    kind: str
    x: Sequence[float]
    y: Sequence[float]
    spread: Sequence[float]


def layer_curves(
    lines: Sequence[ScoreCurve], layers: Sequence[str], references: Mapping[str, float], *, y_label: str, title: str
) -> Figure:
    """Plot the score of each layer in order of depth; references are horizontal lines."""
    figure, axes = panels(1, max(5.8, 0.55 * len(layers) + 3), 4.2, False)
    axis = axes[0]
    _draw(figure, lines, axis, references, y_label, title)
    axis.set_xticks(range(len(layers)), layers, rotation=30, ha="right")
    axis.set_xlabel("layer")
    return figure


def size_curves(lines: Sequence[ScoreCurve], references: Mapping[str, float], *, y_label: str, title: str) -> Figure:
    """Plot the score by images per class on a logarithmic scale (Fig 9 of the paper)."""
    figure, axes = panels(1, 6.4, 4.4, False)
    axis = axes[0]
    _draw(figure, lines, axis, references, y_label, title, names_at="left")  # where the curves are low
    axis.set_xscale("log")
    ticks = sorted({x for line in lines for x in line.x})
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.minorticks_off()
    axis.set_xlabel("training images of each class")
    return figure


def _draw(
    figure: Figure,
    lines: Sequence[ScoreCurve],
    axis: Axes,
    references: Mapping[str, float],
    y_label: str,
    title: str,
    names_at: Literal["left", "right"] = "right",
) -> None:
    groups = list(dict.fromkeys(line.group for line in lines))
    kinds = list(dict.fromkeys(line.kind for line in lines))
    for line in lines:
        number, kind = groups.index(line.group), kinds.index(line.kind)
        axis.errorbar(
            line.x,
            line.y,
            line.spread,
            color=color(number, False),
            marker=marker(number),
            ms=4,
            lw=1.5,
            capsize=2.5,
            linestyle=DASHES[kind % len(DASHES)],
        )
    for name, value in references.items():
        axis.axhline(value, color=INK[False], lw=0.8, linestyle=":")
        axis.annotate(
            f"{name} {value:.1f}",
            (0.995 if names_at == "right" else 0.005, value),
            xycoords=("axes fraction", "data"),
            ha=names_at,
            va="bottom",
            fontsize=7.5,
            color=INK[False],
        )
    axis.set_ylabel(y_label)
    axis.set_ylim(bottom=0)
    axis.set_title(title, fontsize=11, fontweight="bold", color=INK[False])
    finish(figure, None, line_handles(groups, kinds, False), False)


def confusion_matrix(shares: Float[np.ndarray, "k k"], names: Sequence[str], *, title: str) -> Figure:
    """Draw the percentages of a class's images (row) that are predicted as each class (column)."""
    side = min(9.0, 3.5 + 0.06 * len(names))
    figure = Figure(figsize=(side + 0.9, side), layout="constrained", facecolor=PAPER[False])
    axis = figure.subplots()
    shown = axis.imshow(shares, cmap="Blues", vmin=0, vmax=100, interpolation="nearest")
    every = -(-len(names) // MAX_LABELS)
    ticks = range(0, len(names), every)
    axis.set_xticks(ticks, [names[i] for i in ticks], rotation=90, fontsize=6.5)
    axis.set_yticks(ticks, [names[i] for i in ticks], fontsize=6.5)
    axis.set_xlabel("predicted class", color=INK[False])
    axis.set_ylabel("true class", color=INK[False])
    axis.set_title(title, fontsize=11, fontweight="bold", color=INK[False])
    figure.colorbar(shown, ax=axis, label="% of the class's test images", shrink=0.7)
    return figure


def class_examples(rows: Sequence[tuple[str, UInt8[np.ndarray, "_ h w 3"]]], *, title: str, divide: int) -> Figure:
    """Draw a row of images for each class next to its name, with a gap after the first ``divide`` rows."""
    count = max(len(images) for _, images in rows)
    gap = 0.35
    figure = Figure(figsize=(1.25 * count + 3.0, 1.3 * len(rows) + gap + 0.5), facecolor=PAPER[False])
    figure.suptitle(title, fontsize=11, fontweight="bold", color=INK[False], y=0.995)
    height = 1.3 * len(rows) + gap + 0.5
    for number, (name, images) in enumerate(rows):
        bottom = 1 - (0.45 + 1.3 * (number + 1) + (gap if number >= divide else 0)) / height
        for place, image in enumerate(images):
            axis = figure.add_axes(
                ((2.9 + 1.25 * place) / (1.25 * count + 3.0), bottom, 1.2 / (1.25 * count + 3.0), 1.2 / height)
            )
            axis.imshow(image)
            axis.set_xticks([])
            axis.set_yticks([])
            axis.spines[:].set_color(GRID[False])
        x, y = 2.8 / (1.25 * count + 3.0), bottom + 0.6 / height
        figure.text(x, y, name, ha="right", va="center", fontsize=8.5, color=INK[False])
    return figure
