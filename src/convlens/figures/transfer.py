"""Accuracy of probes by layer and by number of images, and which classes are taken for which."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.figure import Figure

from convlens.figures.style import DASHES, GRID, INK, PAPER, colour, finish, line_handles, marker, panels

LABELS_AT_MOST = 30
"""With more classes a confusion matrix shows every so-many-th name."""


@dataclass(frozen=True)
class Line:
    """Scores in percent with a spread; NaN where there is none. ``kind`` chooses the dashes, ``group`` the colour."""

    group: str
    kind: str
    x: Sequence[float]
    y: Sequence[float]
    spread: Sequence[float]


def layer_curves(
    lines: Sequence[Line], layers: Sequence[str], references: Mapping[str, float], *, y_label: str, title: str
) -> Figure:
    """The score of each layer, in order of depth; references are thin lines across."""
    figure, axes = panels(1, max(5.8, 0.55 * len(layers) + 3), 4.2, False)
    axis = axes[0]
    _draw(figure, lines, axis, references, y_label, title)
    axis.set_xticks(range(len(layers)), layers, rotation=30, ha="right")
    axis.set_xlabel("layer")
    return figure


def size_curves(lines: Sequence[Line], references: Mapping[str, float], *, y_label: str, title: str) -> Figure:
    """The score by images per class, on a logarithmic scale (Fig 9)."""
    figure, axes = panels(1, 6.4, 4.4, False)
    axis = axes[0]
    _draw(figure, lines, axis, references, y_label, title)
    axis.set_xscale("log")
    ticks = sorted({x for line in lines for x in line.x})
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.minorticks_off()
    axis.set_xlabel("training images of each class")
    return figure


def _draw(
    figure: Figure, lines: Sequence[Line], axis: object, references: Mapping[str, float], y_label: str, title: str
) -> None:
    groups = list(dict.fromkeys(line.group for line in lines))
    kinds = list(dict.fromkeys(line.kind for line in lines))
    for line in lines:
        number, kind = groups.index(line.group), kinds.index(line.kind)
        axis.errorbar(  # type: ignore[attr-defined]
            line.x, line.y, line.spread, color=colour(number, False), marker=marker(number), ms=4, lw=1.5, capsize=2.5,
            linestyle=DASHES[kind % len(DASHES)],
        )  # fmt: skip
    for name, value in references.items():
        axis.axhline(value, color=INK[False], lw=0.8, linestyle=":")  # type: ignore[attr-defined]
        axis.annotate(  # type: ignore[attr-defined]
            f"{name} {value:.1f}", (0.995, value), xycoords=("axes fraction", "data"), ha="right", va="bottom",
            fontsize=7.5, color=INK[False],
        )  # fmt: skip
    axis.set_ylabel(y_label)  # type: ignore[attr-defined]
    axis.set_ylim(bottom=0)  # type: ignore[attr-defined]
    axis.set_title(title, fontsize=11, fontweight="bold", color=INK[False])  # type: ignore[attr-defined]
    finish(figure, None, line_handles(groups, kinds, False), False)


def confusion_matrix(shares: Float[np.ndarray, "k k"], names: Sequence[str], *, title: str) -> Figure:
    """Which share of a class's images (a row) is taken for which class (a column), in percent."""
    side = min(9.0, 3.5 + 0.06 * len(names))
    figure = Figure(figsize=(side + 0.9, side), layout="constrained", facecolor=PAPER[False])
    axis = figure.subplots()
    shown = axis.imshow(shares, cmap="Blues", vmin=0, vmax=100, interpolation="nearest")
    every = -(-len(names) // LABELS_AT_MOST)
    ticks = range(0, len(names), every)
    axis.set_xticks(ticks, [names[i] for i in ticks], rotation=90, fontsize=6.5)
    axis.set_yticks(ticks, [names[i] for i in ticks], fontsize=6.5)
    axis.set_xlabel("taken for", color=INK[False])
    axis.set_ylabel("class", color=INK[False])
    axis.set_title(title, fontsize=11, fontweight="bold", color=INK[False])
    figure.colorbar(shown, ax=axis, label="% of the class's test images", shrink=0.7)
    return figure


def class_examples(rows: Sequence[tuple[str, UInt8[np.ndarray, "_ h w 3"]]], *, title: str, divide: int) -> Figure:
    """A row of images for each class with its name beside it; a gap after the first ``divide`` rows."""
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
        figure.text(2.8 / (1.25 * count + 3.0), bottom + 0.6 / height, name, ha="right", va="center", fontsize=8.5,
                    color=INK[False])  # fmt: skip
    return figure
