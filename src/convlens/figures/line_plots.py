"""Line plots of several runs: curves over epochs, distances or numbers of images."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from convlens.errors import InputError
from convlens.figures.style import DASHES, INK, color, finish, line_handles, marker, panels

Reals = Sequence[int | float] | np.ndarray


@dataclass(frozen=True)
class Curve:
    """One line of a plot.

    Attributes:
        group: name of the run or series; lines of a group share their color.
        x: positions, finite or left out.
        y: values; those that are not finite are left out.
        kind: lines of a kind share their line style.
        spread: half-height of a band around the line.
        ring: the x of a point to circle.
    """

    group: str
    x: Reals
    y: Reals
    kind: str = ""
    spread: Reals | None = None
    ring: int | float | None = None


def curves(
    plots: Mapping[str, Sequence[Curve]],
    *,
    x_label: str = "epoch",
    title: str | None = None,
    ring_label: str = "best epoch",
    dark: bool = False,
) -> Figure:
    """Draw panels side by side with one legend.

    Axes of values that are never negative begin at 0. A curve without a finite value stays in the legend.

    Args:
        plots: label of the y axis, with the unit, to the curves of a panel.
        x_label: label of the x axes.
        title: shown above the panels.
        ring_label: legend entry of the circled points.
        dark: whether to use colors for a dark background.

    Raises:
        InputError: there is no curve.
    """
    everything = [curve for panel in plots.values() for curve in panel]
    if not everything:
        raise InputError("curves: nothing to draw: give at least one curve")
    groups = list(dict.fromkeys(curve.group for curve in everything))
    kinds = list(dict.fromkeys(curve.kind for curve in everything))
    handles = line_handles(groups, kinds, dark)
    if any(curve.ring is not None for curve in everything):
        handles.append(Line2D([], [], linestyle="", marker="o", mfc="none", mec=INK[dark], ms=8, label=ring_label))
    height = 3.2 + 0.22 * math.ceil(len(handles) / 4)
    figure, axes = panels(len(plots), 4.2 if len(plots) > 1 else 5.8, height, dark)
    for axis, (y_label, panel) in zip(axes, plots.items(), strict=True):
        for curve in panel:
            _draw(axis, curve, groups.index(curve.group), kinds.index(curve.kind), dark)
        axis.set_xlabel(x_label)
        axis.set_ylabel(y_label)
        _limit(axis, panel)
    finish(figure, title, handles, dark)
    return figure


def _draw(axis: Axes, curve: Curve, group: int, kind: int, dark: bool) -> None:
    x, y = np.asarray(curve.x, dtype=float), np.asarray(curve.y, dtype=float)
    keep = np.isfinite(x) & np.isfinite(y)
    ink, count = color(group, dark), int(keep.sum())
    # a line of one point is visible only by its marker
    shape = marker(group) if count <= 12 or marker(group) != "o" else None
    axis.plot(
        x[keep],
        y[keep],
        color=ink,
        linestyle=DASHES[kind % len(DASHES)],
        linewidth=1.7,
        marker=shape,
        markersize=3.5,
        markevery=max(1, count // 12),
    )
    if curve.spread is not None:
        band = np.asarray(curve.spread, dtype=float)[keep]
        axis.fill_between(x[keep], y[keep] - band, y[keep] + band, color=ink, alpha=0.18, linewidth=0)
    at = keep & (x == curve.ring)
    axis.plot(x[at], y[at], linestyle="", marker="o", markersize=9, mfc="none", mec=ink, mew=1.6)


def _limit(axis: Axes, panel: Sequence[Curve]) -> None:
    """Use integer ticks for integer x, and begin the y axis at zero if no value is negative."""
    x = [value for curve in panel for value in curve.x if math.isfinite(value)]
    y = [value for curve in panel for value in curve.y if math.isfinite(value)]
    if x and all(float(value).is_integer() for value in x):
        axis.set_xticks(_whole_ticks(round(min(x)), round(max(x))))
    if y and min(y) >= 0:
        axis.set_ylim(bottom=0)


def _whole_ticks(first: int, last: int) -> list[int]:
    """Return the first number and the round numbers after it."""
    round_ones = [int(tick) for tick in MaxNLocator(nbins=8, integer=True, min_n_ticks=1).tick_values(first, last)]
    step = round_ones[1] - round_ones[0] if len(round_ones) > 1 else 1
    return [first] + [tick for tick in round_ones if first + step / 2 < tick <= last]
