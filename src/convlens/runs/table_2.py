"""Table 2 of the paper, with the errors of own networks beside it: single ones, and several as one."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from convlens.errors import InputError
from convlens.io.tables import Cell
from convlens.metrics.ensemble import EnsembleErrors
from convlens.runs.predictions import ensemble_of
from convlens.stats.paper_tables import TABLE_2
from convlens.stats.results import Table

COLUMNS = ("network", "paper: val top-1", "val top-5", "test top-5", "own networks", "own test top-1", "own test top-5")


def table_2(runs: Mapping[str, Sequence[Path]], about: str = "") -> Table | None:
    """Return the rows of Table 2 with the errors of own networks; None if there is none of its networks.

    A row of one network has the mean over own runs of that network, a row of several the error of all own runs of its
    networks together, whatever their number.

    Args:
        runs: directories of finished training runs on the same images, by `convlens.stats.paper_tables.kind_of`.
        about: what the runs have in common, for the title.
    """
    rows: list[list[Cell]] = []
    for row, networks in TABLE_2.items():
        printed = [None if error is None else f"{error:.1f}" for error in row[1:]]
        own = [run for name in networks for run in runs.get(name, ())] if networks.keys() <= runs.keys() else []
        rows.append([row.name, *printed, *_own_errors(own, single=sum(networks.values()) == 1)])
    if not any(cell for row in rows for cell in row[4:]):
        return None
    return Table(f"Table 2, error in %{f' ({about})' if about else ''}", COLUMNS, rows)


def _own_errors(runs: Sequence[Path], *, single: bool) -> list[Cell]:
    """Return the number of networks and their errors; nothing if a run's probabilities cannot be read."""
    if not runs or (len(runs) == 1 and not single):
        return [None, None, None]
    try:
        found: Sequence[EnsembleErrors] = [ensemble_of([run]) for run in runs] if single else [ensemble_of(runs)]
    except InputError:
        return [None, None, None]
    errors = [np.mean([one.top1_error for one in found]), np.mean([one.top5_error for one in found])]
    amount = f"mean of {len(runs)}" if single and len(runs) > 1 else str(len(runs))
    return [amount, *(f"{error:.2f}" for error in errors)]
