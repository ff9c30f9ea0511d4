"""Tables and a figure of a gallery's statistics by layer, with those of its control network (claims 4 to 7)."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from convlens.analysis.galleries.claims import layer_purity
from convlens.analysis.galleries.network_statistics import NetworkStatistics
from convlens.figures.line_plots import Curve, curves
from convlens.figures.png import save_png
from convlens.io.tables import Cell
from convlens.stats.estimates import Estimate, mean_of_runs
from convlens.stats.results import Table

BY_LAYER = "statistics.png"
NETWORK, CONTROL, CHANCE = "network", "random weights", "chance"
MEASURED, SPECTRUM = "measured", "phase-randomized"


def mean_and_error(estimate: Estimate) -> str:
    """Return a mean with its standard error; intervals of few maps that are nearly equal say little."""
    return f"{estimate.value:.3f} ({estimate.error:.3f})"


def statistics_tables(own: NetworkStatistics, control: NetworkStatistics | None) -> list[Table]:
    """Return the tables of grouping, of switches and of classes; without rows to show, a table is left out.

    Args:
        own: statistics of the network.
        control: of the network with randomized weights; None for none.
    """
    tables = [_grouping_table(own, control), _switches_table(own)]
    if own.strongest.is_labelled:
        tables.append(_purity_table(own, control))
    return [table for table in tables if table.rows]


def _grouping_table(own: NetworkStatistics, control: NetworkStatistics | None) -> Table:
    title = (
        "Claims 5 and 6: likeness of the nine projections of a map. Area under the ROC curve of pairs of one map "
        "against pairs of different maps, by similarity (greatest cosine over small shifts), for projections and for "
        "the same ones with random phases; mean similarity of two projections and of two image patches of one map. In "
        "brackets the standard error over maps"
    )
    columns = [
        "layer",
        "maps",
        "AUC",
        f"AUC, {SPECTRUM}",
        "AUC, random weights",
        "similarity",
        "patches",
        "similarity, random weights",
    ]
    other = {} if control is None else control.grouping
    rows: list[list[Cell]] = []
    for layer, one in own.grouping.items():
        random = other.get(layer)
        rows.append(
            [
                layer,
                len(one.auc),
                mean_and_error(mean_of_runs(one.auc)),
                mean_and_error(mean_of_runs(one.null_auc)),
                mean_and_error(mean_of_runs(random.auc)) if random else None,
                mean_and_error(mean_of_runs(one.projections)),
                mean_and_error(mean_of_runs(one.patches)),
                mean_and_error(mean_of_runs(random.projections)) if random else None,
            ]
        )
    return Table(title, columns, rows)


def _switches_table(own: NetworkStatistics) -> Table:
    title = (
        "Claim 4: change of a projection, one minus the correlation, with the switches of another of the map's images, "
        "and with values at the centres of the pooling windows instead of at switches; in brackets the standard error "
        "over maps"
    )
    rows: list[list[Cell]] = [
        [
            layer,
            len(one.centre),
            mean_and_error(mean_of_runs(one.other_image)),
            mean_and_error(mean_of_runs(one.centre)),
        ]
        for layer, one in own.switches.items()
    ]
    return Table(title, ["layer", "maps", "switches of another image", "centres of the windows"], rows)


def _purity_table(own: NetworkStatistics, control: NetworkStatistics | None) -> Table:
    title = (
        "Claim 7: classes of the nine strongest images of a map: share of pairs of images that show the same class, "
        "mean of all maps"
    )
    other = {} if control is None else layer_purity(control)
    rows: list[list[Cell]] = [
        [layer, f"{value:.3f}", f"{other[layer]:.3f}" if layer in other else None, f"{own.strongest.chance:.3f}"]
        for layer, value in layer_purity(own).items()
    ]
    return Table(title, ["layer", NETWORK, CONTROL, CHANCE], rows)


def draw_statistics(
    own: NetworkStatistics, controls: Mapping[str, NetworkStatistics], title: str, folder: Path
) -> Path | None:
    """Draw AUC and purity by layer to ``statistics.png``, with those of the last control network.

    Args:
        own: statistics of the network.
        controls: of its control networks, by name.
        title: title of the figure.
        folder: folder of the figure.

    Returns:
        The figure's path; None if there is nothing to draw.
    """
    networks = {NETWORK: own} | ({CONTROL: list(controls.values())[-1]} if controls else {})
    plots: dict[str, list[Curve]] = {}
    numbers = range(1, len(own.depths) + 1)
    if own.grouping:
        plots["AUC of similarity within a map"] = [
            Curve(name, numbers, [_mean(one, layer, field) for layer in own.depths], kind)
            for name, one in networks.items()
            for kind, field in ((MEASURED, "auc"), (SPECTRUM, "null_auc"))
        ]
    if own.strongest.is_labelled:
        plots["share of pairs of one class"] = [
            *(Curve(name, numbers, list(layer_purity(one).values()), MEASURED) for name, one in networks.items()),
            Curve(CHANCE, numbers, [own.strongest.chance] * len(numbers), MEASURED),
        ]
    if not plots:
        return None
    layers = ", ".join(own.depths) if len(own.depths) < 8 else f"{next(iter(own.depths))} to {list(own.depths)[-1]}"
    return save_png(curves(plots, x_label=f"layer ({layers})", title=title), folder / BY_LAYER)


def _mean(network: NetworkStatistics, layer: str, field: str) -> float:
    return mean_of_runs(getattr(network.grouping[layer], field)).value if layer in network.grouping else np.nan
