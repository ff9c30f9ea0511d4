"""Colors, line styles and axes shared by all plots, for light and dark backgrounds."""

import math
from collections.abc import Sequence
from typing import Literal

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.container import Container
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

Dashes = Literal["-", "--", ":", "-."]

COLORS = {
    False: (
        "#1f6fb4",
        "#d95f02",
        "#1b8a5a",
        "#a6338f",
        "#7a5c00",
        "#c0392b",
        "#4b5cc4",
        "#5f6b76",
        "#00838f",
        "#8c564b",
    ),
    True: (
        "#6cb6ff",
        "#ff9f57",
        "#5fd0a0",
        "#e78bd6",
        "#d9b84a",
        "#ff8a80",
        "#a5b0ff",
        "#b4bfca",
        "#4dd0e1",
        "#d7a597",
    ),
}
INK = {False: "#1f2937", True: "#d7dde5"}
PAPER = {False: "#ffffff", True: "#14181d"}
GRID = {False: "#e3e6ea", True: "#2c333b"}
DASHES: tuple[Dashes, ...] = ("-", "--", ":", "-.")
MARKERS = "osD^"


def color(index: int, dark: bool) -> str:
    """Return the color of a series; colors repeat after ten."""
    return COLORS[dark][index % len(COLORS[dark])]


def marker(index: int) -> str:
    """Return the marker of a series; it changes each time the colors repeat."""
    return MARKERS[index // len(COLORS[False]) % len(MARKERS)]


def panels(columns: int, width: float, height: float, dark: bool, rows: int = 1) -> tuple[Figure, list[Axes]]:
    """Return a figure of ``columns * width`` by ``height`` inches, and its axes in reading order."""
    figure = Figure(figsize=(columns * width, height), layout="constrained", facecolor=PAPER[dark])
    axes = list(figure.subplots(rows, columns, squeeze=False, sharex=rows > 1).flat)
    for axis in axes:
        axis.set_facecolor("none")
        axis.set_axisbelow(True)
        axis.grid(axis="y", color=GRID[dark], linewidth=0.8)
        axis.tick_params(colors=INK[dark], labelsize=9)
        axis.xaxis.label.set_color(INK[dark])
        axis.yaxis.label.set_color(INK[dark])
        axis.spines[["top", "right"]].set_visible(False)
        axis.spines[["left", "bottom"]].set_color(INK[dark])
    return figure, axes


def line_handles(groups: Sequence[str], kinds: Sequence[str], dark: bool) -> list[Line2D]:
    """Return legend entries: a color for each group and, if there are several kinds, a line style for each."""
    lines = [
        Line2D([], [], color=color(index, dark), linewidth=2.4, label=group, marker=marker(index), markersize=3.5)
        for index, group in enumerate(groups)
    ]
    if len(kinds) > 1:
        lines += [
            Line2D([], [], color=INK[dark], linestyle=DASHES[index % len(DASHES)], label=kind)
            for index, kind in enumerate(kinds)
        ]
    return lines


def finish(figure: Figure, title: str | None, handles: Sequence[Artist | Container], dark: bool) -> None:
    """Add the title above the figure and, if there are handles, a legend below it."""
    if title:
        figure.suptitle(title, color=INK[dark], fontsize=11, fontweight="bold")
    if handles:
        longest = max(len(str(handle.get_label())) for handle in handles)
        most = min(4, max(1, int(figure.get_figwidth() / (0.07 * longest + 0.5))))
        columns = math.ceil(len(handles) / math.ceil(len(handles) / most))  # rows of nearly equal length
        figure.legend(
            handles=list(handles),
            loc="outside lower center",
            ncols=columns,
            frameon=False,
            labelcolor=INK[dark],
            fontsize=9,
        )
