"""Bars and histograms, with a level to compare with."""

import math
from collections.abc import Iterable, Mapping

import numpy as np
from jaxtyping import Float
from matplotlib.artist import Artist
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from convlens.errors import InputError
from convlens.figures.style import INK, colour, finish, panels

LETTERS = 70
"""As many letters of labels fit beside each other below a plot."""


def bars(
    values: Mapping[str, Mapping[str, int | float]],
    *,
    y_label: str,
    spread: Mapping[str, Mapping[str, int | float]] | None = None,
    title: str | None = None,
    line: tuple[int | float, str] | None = None,
    dark: bool = False,
) -> Figure:
    """Bars from zero, a group of them per label: `values` is {series: {label: value}}.

    Args:
        values: what is missing or not finite gets no bar.
        y_label: names the unit.
        spread: ± error bars, same keys as the values.
        title: over the plot.
        line: a height to draw a dashed line at, and its name.
        dark: colours for a dark background.

    Raises:
        InputError: there is no value.
    """
    labels = list(dict.fromkeys(label for series in values.values() for label in series))
    if not labels:
        raise InputError("bars: nothing to draw: give at least one value")
    figure, (axis,) = panels(1, max(5.5, 1.2 + 0.32 * len(labels) * len(values)), 3.4, dark)
    width = 0.8 / len(values)
    handles: list[Artist | BarContainer] = []
    for index, (name, series) in enumerate(values.items()):
        at = np.arange(len(labels)) + (index - (len(values) - 1) / 2) * width
        heights = [series.get(label, math.nan) for label in labels]
        drawn = axis.bar(at, heights, width * 0.92, color=colour(index, dark), label=name)
        if spread and name in spread:
            errors = [spread[name].get(label, math.nan) for label in labels]
            axis.errorbar(at, heights, errors, linestyle="", ecolor=INK[dark], elinewidth=1, capsize=2.5)
        handles.append(drawn)
    axis.set_xticks(range(len(labels)), labels)
    if sum(map(len, labels)) > LETTERS:  # side by side they would run into each other
        axis.set_xticks(range(len(labels)), labels, rotation=30, ha="right", rotation_mode="anchor")
    axis.tick_params(axis="x", length=0)
    axis.set_ylabel(y_label)
    legend = handles if len(values) > 1 else []
    if line is not None:
        legend = [*legend, axis.axhline(line[0], color=INK[dark], linestyle="--", linewidth=1.2, label=line[1])]
    finish(figure, title, legend, dark)
    return figure


def rms_histogram(
    rms: Mapping[str, Float[np.ndarray, " _"]],
    *,
    clip: float | None = None,
    title: str | None = None,
    dark: bool = False,
) -> Figure:
    """How many filters have which root-mean-square weight, a row per network or layer, with the clip radius.

    All rows share their bins. The axis is logarithmic where the values span more than a factor of 30; a filter too
    small for it is counted in the first bin.

    Raises:
        InputError: there is no finite value.
    """
    finite = {name: values[np.isfinite(values)] for name, values in rms.items()}
    everything = np.concatenate([*finite.values(), np.empty(0)])
    if everything.size == 0:
        raise InputError("filter RMS: nothing to draw: give at least one finite value")
    edges, logarithmic = _edges(everything if clip is None else np.append(everything, clip), _bins(finite.values()))
    figure, axes = panels(1, 5.8, 1.2 + 1.5 * len(finite), dark, rows=len(finite))
    legend = []
    for index, (axis, (name, values)) in enumerate(zip(axes, finite.items(), strict=True)):
        axis.hist(np.clip(values, edges[0], edges[-1]), bins=edges, color=colour(index, dark), rwidth=0.94)
        axis.set_ylabel("filters")
        axis.set_title(f"{name}: {values.size} filters", loc="left", fontsize=9.5, color=INK[dark])
        axis.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
        if logarithmic:
            axis.set_xscale("log")
        if clip is not None:
            label = f"clip radius {clip:g}"
            legend = [axis.axvline(clip, color=INK[dark], linestyle="--", linewidth=1.2, label=label)]
    axes[-1].set_xlabel("filter RMS (log scale)" if logarithmic else "filter RMS")
    finish(figure, title, legend, dark)
    return figure


def _bins(rows: Iterable[Float[np.ndarray, " _"]]) -> int:
    """Twice the root of the filters in the largest row: few filters in many bins look like a comb."""
    return min(40, max(8, round(2 * math.sqrt(max(row.size for row in rows)))))


def _edges(values: Float[np.ndarray, " n"], bins: int) -> tuple[list[float], bool]:
    """Edges of bins over the values, and whether they are logarithmic."""
    positive = values[values > 0]
    if positive.size == 0:
        return np.linspace(0.0, 1.0, bins + 1).tolist(), False
    low, high = float(positive.min()), float(positive.max())
    if high > 30 * low:
        # a filter of (nearly) zeros must not squeeze all others into one bin
        return np.geomspace(max(low, high / 1e5) / 1.05, high * 1.05, bins + 1).tolist(), True
    return np.linspace(0.0, high * 1.05, bins + 1).tolist(), False
