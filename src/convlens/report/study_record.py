"""What a report is made of: the files of run directories as plain records."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

History = dict[str, dict[int, float]]
"""Column of metrics.csv to {epoch (1-based): value}; empty cells are left out."""


@dataclass(frozen=True)
class Number:
    """A number of an analysis; the spread is a half-width, or a pair (low, high)."""

    name: str
    value: Any
    unit: str
    spread: Any


@dataclass(frozen=True)
class Picture:
    """A figure of an analysis; figures with the same key of different runs belong side by side."""

    path: Path
    caption: str
    key: str


@dataclass(frozen=True)
class Table:
    """A table of an analysis."""

    title: str
    columns: list[str]
    rows: list[list[Any]]


@dataclass(frozen=True)
class ClaimRecord:
    """A claim of the paper with the evidence that an analysis found."""

    number: int
    claim: str
    place: str
    about: str
    statistic: str
    estimate: str
    units: str
    paper: str
    verdict: str
    refuted_if: str
    controls: str


@dataclass(frozen=True)
class Result:
    """One result.json."""

    analysis: str
    title: str
    reproduces: str
    order: float
    text: str
    numbers: list[Number]
    figures: list[Picture]
    tables: list[Table]
    claims: list[ClaimRecord]


@dataclass(frozen=True)
class Run:
    """One run directory."""

    name: str
    directory: Path
    task: str
    status: str
    command: str
    seconds: float | None
    error: str
    version: str
    metrics: dict[str, Any]
    history: History
    config: str
    results: list[Result]


@dataclass(frozen=True)
class Part:
    """One step of a study; `run` is None where it left no directory."""

    name: str
    command: str
    status: str
    seconds: float | None
    error: str
    traceback: str
    run: Run | None


@dataclass(frozen=True)
class Study:
    """Everything a report is made of. The runs are those of the parts, each once."""

    title: str
    command: str
    parts: list[Part]
    runs: list[Run]
    problems: list[str] = field(default_factory=list)
