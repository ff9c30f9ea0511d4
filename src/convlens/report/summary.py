"""The networks side by side: errors, best epoch and time, and the sentences that open the report."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from convlens.report.format import MISSING, SPACE, duration, listing, number, percent, plural
from convlens.report.load import real
from convlens.report.study_record import Part, Run

ERRORS = [f"{split}/top{k}_error" for split in ("train", "val", "test") for k in (1, 5)]
LABELS = {"train": "training", "val": "validation", "test": "test"}


FEW = 8
"""More networks than that are not named one by one."""


@dataclass(frozen=True)
class Cell:
    """What a cell of the summary shows, and whether it is the best of its column."""

    text: str
    best: bool = False


@dataclass(frozen=True)
class Summary:
    """`columns` are the error columns that some run has, as (split, "top-1"); `rows` are (run, cells)."""

    columns: list[tuple[str, str]]
    rows: list[tuple[Run, list[Cell]]]
    absent: list[str]

    @property
    def splits(self) -> list[tuple[str, int]]:
        """The splits over the columns, and how many columns each spans."""
        names = [split for split, _ in self.columns]
        return [(split, names.count(split)) for split in dict.fromkeys(names)]


def best_epoch(run: Run) -> int | None:
    """The epoch that metrics.json names, or that of the lowest validation top-1 error (the first such)."""
    named = real(run.metrics.get("best_epoch"))
    if named is not None and math.isfinite(named):
        return int(named)
    errors = {e: value for e, value in run.history.get("val/top1_error", {}).items() if math.isfinite(value)}
    return min(errors, key=lambda epoch: (errors[epoch], epoch)) if errors else None


def error(run: Run, key: str) -> float | None:
    """An error in percent: from metrics.json, else from metrics.csv at the best epoch, else at the last one."""
    named = real(run.metrics.get(key))
    if named is not None:
        return named
    values = run.history.get(key, {})
    epoch = best_epoch(run)
    if epoch is None and values:
        epoch = max(values)
    return values.get(epoch) if epoch is not None else None


def is_network(run: Run) -> bool:
    """Whether a run belongs into the summary: it trains, or it has an error to show."""
    return run.task == "train" or any(error(run, key) is not None for key in ERRORS)


def summarise(runs: Sequence[Run]) -> Summary:
    """One row per network. The best of a column is marked where there is something to compare."""
    networks = [run for run in runs if is_network(run)]
    table = {key: [error(run, key) for run in networks] for key in ERRORS}
    keys = [key for key in ERRORS if any(value is not None for value in table[key])]
    rows = []
    for index, run in enumerate(networks):
        cells = [Cell(number(_whole(run.metrics.get("parameters"))))]
        cells += [Cell(percent(table[key][index]), _is_best(table[key], index)) for key in keys]
        cells += [Cell(_epoch(run)), Cell(duration(run.seconds))]
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
    """What was done, what came out, how long it took: one sentence each."""
    names = [run.name for run in runs if is_network(run)] or [run.name for run in runs]
    few = f" ({listing(names)})" if len(names) <= FEW else ""
    looked = f"looks at {plural(len(names), 'network')}{few}" if names else "holds no network"
    by = f" by {plural(len(analyses), 'analysis')} ({listing(analyses)})" if analyses else " without any analysis"
    return [f"This report {looked}{by}.", _outcome(runs), _effort(parts)]


def _outcome(runs: Sequence[Run]) -> str:
    for key in ("test/top1_error", "val/top1_error"):
        found = {run.name: error(run, key) for run in runs}
        errors = {name: value for name, value in found.items() if value is not None and math.isfinite(value)}
        if errors:
            best, *others = sorted(errors, key=lambda name: errors[name])
            rest = f" ({listing([f'{name}: {percent(errors[name])}{SPACE}%' for name in others], 5)})" if others else ""
            rest = rest if len(errors) <= FEW else ""
            lowest = "lowest " if others else ""
            return f"The {lowest}{_name(key)} is {percent(errors[best])}{SPACE}%, by {best}{rest}."
    return "No run has recorded a validation or test error."


def _effort(parts: Sequence[Part]) -> str:
    # the time of a reused part was spent by another study
    seconds = [part.seconds for part in parts if part.seconds is not None and part.status != "reused"]
    counts = {status: sum(part.status == status for part in parts) for status in ("failed", "reused", "running")}
    notes = {"failed": "failed", "reused": "taken over from before", "running": "still running"}
    notable = ", ".join(f"{count} {notes[status]}" for status, count in counts.items() if count)
    if parts and counts["reused"] == len(parts):
        return f"Nothing was done anew: {plural(len(parts), 'part')} taken over from before."
    total = f"took {duration(math.fsum(seconds))} in all" if seconds else "left no record of their time"
    return f"{plural(len(parts), 'part')} {total}{f' ({notable})' if notable else ''}."
