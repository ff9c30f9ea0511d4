"""Records of a study: its parts, runs, results and claims as plain values read from run directories."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from convlens.stats.results import Number, Table

History = dict[str, dict[int, float]]
"""Column of metrics.csv to {epoch (1-based): value}; empty cells are left out."""


@dataclass(frozen=True)
class Picture:
    """A figure of an analysis.

    Attributes:
        path: the PNG file.
        caption: shown below the figure.
        key: figures of different runs with the same key are shown side by side.
    """

    path: Path
    caption: str
    key: str


@dataclass(frozen=True)
class ClaimRecord:
    """A claim of the paper with the evidence of one analysis; see `convlens.stats.claims.Claim`.

    Texts, but for ``p``, the p-value of the statistic; None in records of earlier versions.
    """

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
    unit: str = ""
    over: str = ""
    effect: str = ""
    detectable: str = ""
    control: str = ""
    p: float | None = None


@dataclass(frozen=True)
class Result:
    """The content of one ``result.json``; see `convlens.stats.results.AnalysisResult`."""

    analysis: str
    title: str
    reproduces: str
    text: str
    numbers: Sequence[Number]
    figures: Sequence[Picture]
    tables: Sequence[Table]
    claims: Sequence[ClaimRecord]


@dataclass(frozen=True)
class Run:
    """One run directory.

    Attributes:
        name: shown in the report.
        directory: the run directory.
        task: the task that made it, such as ``train``.
        status: ``finished``, ``running``, ``failed`` or ``unknown``.
        command: the command line that repeats the run; empty if not recorded.
        seconds: wall-clock time, if recorded.
        error: one line; empty if the run did not fail.
        version: of convlens.
        choices: the options chosen of configuration groups, such as ``{"model": "zfnet"}``.
        metrics: content of ``metrics.json``.
        history: content of ``metrics.csv``.
        config: text of ``config.yaml``.
        settings: ``config.yaml`` as flat values by dotted name; empty if it cannot be read.
        results: of the analyses below ``results``.
    """

    name: str
    directory: Path
    task: str = ""
    status: str = "unknown"
    command: str = ""
    seconds: float | None = None
    error: str = ""
    version: str = ""
    choices: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, object] = field(default_factory=dict)
    history: History = field(default_factory=dict)
    config: str = ""
    settings: Mapping[str, object] = field(default_factory=dict)
    results: Sequence[Result] = ()


@dataclass(frozen=True)
class Part:
    """One step of a study; ``run`` is None if it has no run directory."""

    name: str
    command: str
    status: str
    seconds: float | None
    error: str
    traceback: str
    run: Run | None


@dataclass(frozen=True)
class Study:
    """The content of a report: parts, the distinct runs of these parts, and problems met while reading them."""

    title: str
    command: str
    parts: Sequence[Part]
    runs: Sequence[Run]
    problems: list[str] = field(default_factory=list)
