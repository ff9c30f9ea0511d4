"""The schema of ``result.json``: an analysis with its numbers, figures, tables and claims."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from convlens.io.file_states import file_states
from convlens.io.json_files import write_json
from convlens.io.tables import Cell
from convlens.stats.claims import Claim

ANALYSES = (
    *("collect", "compare", "ensemble", "filters", "projections", "evolution", "occlusion", "invariance"),
    *("correspondence", "transfer", "duplicates"),
)
"""Names of the analyses in the order of the report's sections: comparisons of networks first."""


@dataclass(frozen=True)
class Number:
    """A number of an analysis.

    Attributes:
        name: name of the quantity.
        value: the number, or a short text.
        unit: such as ``%``; empty for a count.
        spread: a half-width, or a pair (low, high), in the same unit; None if unknown.
    """

    name: str
    value: float | int | str | None
    unit: str = ""
    spread: float | tuple[float, float] | None = None


@dataclass(frozen=True)
class Figure:
    """A picture of an analysis.

    Attributes:
        file: path relative to the result's folder.
        key: figures of different runs with the same key are shown side by side.
        caption: shown below the figure.
    """

    file: str
    key: str
    caption: str


@dataclass(frozen=True)
class Table:
    """A table of an analysis.

    Attributes:
        title: shown above the table.
        columns: headings.
        rows: one cell a column; None is an empty cell.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class AnalysisResult:
    """The result of an analysis.

    Attributes:
        analysis: name of the analysis, one of ``ANALYSES`` or that of a transfer data set (``transfer_<data>``).
        title: heading of its section in the report.
        reproduces: the paper's figure or table, such as ``Fig 7``.
        text: how to read the figures and numbers.
        numbers: headline numbers.
        figures: pictures in the same folder.
        tables: tables.
        claims: the paper's claims that the analysis decides.
    """

    analysis: str
    title: str
    reproduces: str
    text: str
    numbers: Sequence[Number] = ()
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = ()
    claims: Sequence[Claim] = ()

    def __repr__(self) -> str:
        counts = {name: len(getattr(self, name)) for name in ("numbers", "figures", "tables", "claims")}
        parts = "".join(f", {count} {name}" for name, count in counts.items() if count)
        return f"AnalysisResult({self.analysis}: {self.title!r}{parts})"

    def as_json(self) -> dict[str, object]:
        """Return the content of ``result.json`` as plain values."""
        content = {name: [asdict(item) for item in getattr(self, name)] for name in ("numbers", "figures", "tables")}
        heading = {name: getattr(self, name) for name in ("analysis", "title", "reproduces", "text")}
        return heading | content | {"claims": [claim.as_json() for claim in self.claims]}

    def write(self, folder: Path, command: str | None = None, **more: object) -> None:
        """Write ``folder/result.json``, whole or not at all, with the states of the folder's figures and arrays.

        Args:
            folder: the result's folder, which holds the figures.
            command: the command line that repeats the analysis; None if it is part of a training run.
            more: further keys of the file, such as ``seconds``.
        """
        origin = {} if command is None else {"command": command}
        arrays = [path for path in folder.rglob("*.np[yz]") if "partial" not in path.relative_to(folder).parts]
        names = [figure.file for figure in self.figures] + [str(path.relative_to(folder)) for path in sorted(arrays)]
        more = {"states": file_states(folder, names)} | more
        write_json(folder / "result.json", self.as_json() | origin | more)


def position(analysis: str) -> int:
    """Return the place of an analysis among the report's sections; unknown ones come last."""
    name = analysis.partition("_")[0]
    return ANALYSES.index(name) if name in ANALYSES else len(ANALYSES)
