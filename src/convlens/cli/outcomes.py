"""The outcome of each job of a sweep: its states, its file, and the summary that ends the sweep."""

import math
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from convlens.io.json_files import read_json, write_json

DONE, SKIPPED, ELSEWHERE, REFUSED, FAILED, BEGUN = "done", "skipped", "elsewhere", "refused", "failed", "begun"
STATES = {
    DONE: "done",
    SKIPPED: "skipped (finished before)",
    ELSEWHERE: "left to another sweep that works on them",
    REFUSED: "refused",
    FAILED: "failed",
    BEGUN: "begun but never ended",
}
"""States of a job, in words."""
WORST = 100.0
"""The objective of a job without one, in percent."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of a job.

    Attributes:
        state: one of the states above.
        run_dir: the directory it worked in.
        code: its exit code.
        reason: why it is not done; empty if it is.
        objective: what a search such as Optuna's minimizes: the validation error of the best epoch, in percent.
    """

    state: str
    run_dir: str = ""
    code: int = 0
    reason: str = ""
    objective: float = float("nan")

    def __float__(self) -> float:
        """Return the objective for Hydra's sweepers: a search goes on after a job that failed or was refused."""
        return self.objective if math.isfinite(self.objective) else WORST

    def as_json(self) -> dict[str, str | int | float | None]:
        """Return plain values; an objective that is not a number is None."""
        return asdict(self) | {"objective": self.objective if math.isfinite(self.objective) else None}


def objective(run_dir: Path) -> float:
    """Return the validation error of a training run in percent; NaN if there is none."""
    value = read_json(run_dir / "metrics.json").get("val/top1_error")
    return float("nan") if value is None else float(value)


def note_outcome(folder: Path, number: int, outcome: Outcome) -> None:
    """Write the outcome of a job into the folder of a running sweep."""
    write_json(folder / f"{number:06d}.json", outcome.as_json())


def read_outcomes(folder: Path) -> list[Outcome]:
    """Read the outcomes in the folder of a sweep, ordered by the number of the job."""
    records = [read_json(path) for path in sorted(folder.glob("*.json"))]
    return [Outcome(**record | {"objective": float(record["objective"] or "nan")}) for record in records if record]


def finish_sweep(folder: Path) -> list[Outcome]:
    """Print the summary of a sweep, and replace its folder by one file, ``<folder>.json``."""
    outcomes = read_outcomes(folder)
    print(summary(outcomes))
    write_json(folder.with_suffix(".json"), {"jobs": [outcome.as_json() for outcome in outcomes]})
    shutil.rmtree(folder, ignore_errors=True)
    return outcomes


def summary(outcomes: Sequence[Outcome]) -> str:
    """Return the number of jobs in each state, and a line for each job that did not succeed."""
    counts = [(state, sum(outcome.state == state for outcome in outcomes)) for state in STATES]
    lines = [f"{len(outcomes)} jobs: " + ", ".join(f"{count} {STATES[state]}" for state, count in counts if count)]
    for outcome in outcomes:
        if outcome.state in (FAILED, BEGUN, REFUSED):
            trace = Path(outcome.run_dir) / "traceback.txt"
            where = f"; traceback in {trace}" if trace.exists() else ""
            lines.append(f"{outcome.state}: {outcome.run_dir}: {outcome.reason or STATES[outcome.state]}{where}")
    return "\n".join(lines)
