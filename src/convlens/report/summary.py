"""The table of networks (errors, best epoch, time) and the opening sentences of the report."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from convlens.report.format import MISSING, SPACE, duration, listing, number, percent, plural
from convlens.report.json_values import real
from convlens.report.study_record import Part, Run

ERRORS = [f"{split}/top{k}_error" for split in ("train", "val", "test") for k in (1, 5)]
LABELS = {"train": "training", "val": "validation", "test": "test"}
FEW = 8
"""Up to this many networks are listed by name in the opening sentences."""


@dataclass(frozen=True)
class SummaryCell:
    """A cell's text, and whether its value is the best of the column."""

    text: str
    best: bool = False


@dataclass(frozen=True)
class Summary:
    """The table of networks.

    Attributes:
        columns: the error columns for which some run has a value, as (split, "top-1").
        rows: runs with their cells.
        absent: names of the errors that no run has.
    """

    columns: list[tuple[str, str]]
    rows: list[tuple[Run, list[SummaryCell]]]
    absent: list[str]

    @property
    def splits(self) -> list[tuple[str, int]]:
        """Headings above the columns: splits with the number of columns that each spans."""
        names = [split for split, _ in self.columns]
        return [(split, names.count(split)) for split in dict.fromkeys(names)]


def best_epoch(run: Run) -> int | None:
    """Return the best epoch of metrics.json, or else the first with the lowest validation top-1 error."""
    named = real(run.metrics.get("best_epoch"))
    if named is not None and math.isfinite(named):
        return int(named)
    errors = {e: value for e, value in run.history.get("val/top1_error", {}).items() if math.isfinite(value)}
    return min(errors, key=lambda epoch: (errors[epoch], epoch)) if errors else None


def error(run: Run, key: str) -> float | None:
    """Return an error in percent: from metrics.json, or else from metrics.csv at the best or the last epoch."""
    named = real(run.metrics.get(key))
    if named is not None:
        return named
    values = run.history.get(key, {})
    epoch = best_epoch(run)
    if epoch is None and values:
        epoch = max(values)
    return values.get(epoch) if epoch is not None else None


def is_network(run: Run) -> bool:
    """Return whether the table has a row for the run: it trains a network or has a recorded error."""
    return run.task == "train" or any(error(run, key) is not None for key in ERRORS)


def summarize(runs: Sequence[Run]) -> Summary:
    """Return the table of networks; the best value of a column is marked if there are at least two."""
    networks = [run for run in runs if is_network(run)]
    table = {key: [error(run, key) for run in networks] for key in ERRORS}
    keys = [key for key in ERRORS if any(value is not None for value in table[key])]
    rows = []
    for index, run in enumerate(networks):
        cells = [SummaryCell(number(_whole(run.metrics.get("parameters"))))]
        cells += [SummaryCell(percent(table[key][index]), _is_best(table[key], index)) for key in keys]
        cells += [SummaryCell(_epoch(run)), SummaryCell(duration(run.seconds))]
        rows.append((run, cells))
    absent = [_name(key) for key in ERRORS if key not in keys] if networks else []
    return Summary([(LABELS[key.split("/")[0]], f"top-{key.split('top')[1][0]}") for key in keys], rows, absent)


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _is_best(values: Sequence[float | None], index: int) -> bool:
    finite = [value for value in values if value is not None and math.isfinite(value)]
    return len(finite) > 1 and values[index] == min(finite)


def _epoch(run: Run) -> str:
    best = best_epoch(run)
    epochs = [epoch for column in run.history.values() for epoch in column]
    if best is None:
        return MISSING
    return f"{best} of {max(epochs)}" if epochs else str(best)


def _name(key: str) -> str:
    split, metric = key.split("/")
    return f"{LABELS[split]} top-{metric[3]} error"


def opening(runs: Sequence[Run], analyses: Sequence[str], parts: Sequence[Part]) -> list[str]:
    """Return the opening sentences: networks and analyses, the lowest error, the time taken."""
    names = [run.name for run in runs if is_network(run)] or [run.name for run in runs]
    few = f" ({listing(names)})" if len(names) <= FEW else ""
    networks = plural(len(names), "network") + few if names else "no network"
    by = f"{plural(len(analyses), 'analysis')} ({listing(analyses)})" if analyses else "no analysis"
    return [f"This report covers {networks} and {by}.", _lowest_error(runs), _time_taken(parts)]


def _lowest_error(runs: Sequence[Run]) -> str:
    for key in ("test/top1_error", "val/top1_error"):
        found = {run.name: error(run, key) for run in runs}
        errors = {name: value for name, value in found.items() if value is not None and math.isfinite(value)}
        if errors:
            best, *others = sorted(errors, key=lambda name: errors[name])
            rest = f" ({listing([f'{name}: {percent(errors[name])}{SPACE}%' for name in others], 5)})" if others else ""
            rest = rest if len(errors) <= FEW else ""
            lowest = "lowest " if others else ""
            return f"The {lowest}{_name(key)} is {percent(errors[best])}{SPACE}%, by {best}{rest}."
    return "No run recorded a validation or test error."


def _time_taken(parts: Sequence[Part]) -> str:
    # a reused part took its time in an earlier study
    seconds = [part.seconds for part in parts if part.seconds is not None and part.status != "reused"]
    counts = {status: sum(part.status == status for part in parts) for status in ("failed", "reused", "running")}
    notes = {"failed": "failed", "reused": "reused", "running": "still running"}
    notable = ", ".join(f"{count} {notes[status]}" for status, count in counts.items() if count)
    if parts and counts["reused"] == len(parts):
        return f"All {plural(len(parts), 'part')} were reused from an earlier study."
    total = f"took {duration(math.fsum(seconds))} in total" if seconds else "did not record their time"
    return f"{plural(len(parts), 'part')} {total}{f' ({notable})' if notable else ''}."
