"""Bar charts of numbers by name, and histograms of the RMS of filters."""

import math
from collections.abc import Iterable, Mapping

import numpy as np
from jaxtyping import Float
from matplotlib.artist import Artist
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from convlens.errors import InputError
from convlens.figures.style import INK, color, finish, panels

LABEL_LENGTH = 70
"""Labels with more characters in total are rotated."""


def bars(
    values: Mapping[str, Mapping[str, int | float]],
    *,
    y_label: str,
    spread: Mapping[str, Mapping[str, int | float]] | None = None,
    title: str | None = None,
    line: tuple[int | float, str] | None = None,
    dark: bool = False,
) -> Figure:
    """Draw a bar chart with one group of bars for each label.

    Args:
        values: ``{series: {label: value}}``; missing and non-finite values have no bar.
        y_label: label of the y axis, with the unit.
        spread: half-widths of the error bars, with the same keys as ``values``.
        title: shown above the chart.
        line: height and name of a dashed horizontal line.
        dark: whether to use colors for a dark background.

    Raises:
        InputError: ``values`` is empty.
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
        drawn = axis.bar(at, heights, width * 0.92, color=color(index, dark), label=name)
        if spread and name in spread:
            errors = [spread[name].get(label, math.nan) for label in labels]
            axis.errorbar(at, heights, errors, linestyle="", ecolor=INK[dark], elinewidth=1, capsize=2.5)
        handles.append(drawn)
    axis.set_xticks(range(len(labels)), labels)
    if sum(map(len, labels)) > LABEL_LENGTH:
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
    """Draw histograms of the filters' root-mean-square weights, one for each network or layer.

    All histograms share their bins. The x axis is logarithmic if the values span more than a factor of 30; filters
    below its range are counted in the first bin.

    Args:
        rms: RMS of each filter, by the name of the network or layer.
        clip: clip radius, drawn as a dashed vertical line (section 4.1 of the paper).
        title: shown above the histograms.
        dark: whether to use colors for a dark background.

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
        axis.hist(np.clip(values, edges[0], edges[-1]), bins=edges, color=color(index, dark), rwidth=0.94)
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
    """Return the number of bins: twice the square root of the largest number of filters, from 8 to 40."""
    return min(40, max(8, round(2 * math.sqrt(max(row.size for row in rows)))))


def _edges(values: Float[np.ndarray, " n"], bins: int) -> tuple[list[float], bool]:
    """Return the bin edges, and whether they are logarithmic."""
    positive = values[values > 0]
    if positive.size == 0:
        return np.linspace(0.0, 1.0, bins + 1).tolist(), False
    low, high = float(positive.min()), float(positive.max())
    if high > 30 * low:
        # bound the range: a filter of nearly zeros must not squeeze all others into one bin
        return np.geomspace(max(low, high / 1e5) / 1.05, high * 1.05, bins + 1).tolist(), True
    return np.linspace(0.0, high * 1.05, bins + 1).tolist(), False
