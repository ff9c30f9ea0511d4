"""Sections of the report: one for each analysis, with the runs side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

from convlens.report.embed import EmbeddedImage, embed
from convlens.report.format import column, number, percent, spread
from convlens.report.study_record import Result, Run
from convlens.stats.results import position

MANY = 3
"""With more groups of figures than this only the first two are open."""

LEADING = ("collect",)
"""Analyses whose sections come before the table of networks."""


@dataclass(frozen=True)
class ShownFigure:
    """A figure of one run; ``picture`` is None if the file is missing or broken."""

    run: str
    caption: str
    file: str
    picture: EmbeddedImage | None


@dataclass(frozen=True)
class FigureGroup:
    """The figures of all runs that share a key."""

    key: str
    open: bool
    figures: list[ShownFigure]

    @property
    def caption(self) -> str:
        """The caption that all figures share; empty if captions differ or repeat the key."""
        captions = {shown.caption for shown in self.figures}
        return "" if len(captions) > 1 or captions == {self.key} else captions.pop()


@dataclass(frozen=True)
class NumberRow:
    """A number of all runs; ``cells`` are (value, spread) as text for each run of the section."""

    name: str
    unit: str
    cells: list[tuple[str, str]]


@dataclass(frozen=True)
class ShownTable:
    """A table as text; ``numeric`` marks the columns of numbers."""

    run: str
    title: str
    columns: Sequence[str]
    numeric: Sequence[bool]
    rows: list[list[str]]


@dataclass(frozen=True)
class Section:
    """One analysis.

    Attributes:
        anchor: identifier of the heading.
        leading: whether the section comes before the table of networks.
        title: heading.
        reproduces: figure or table of the paper; empty if none.
        texts: how to read the section.
        runs: names of the runs, in the order of the cells of ``numbers``.
        numbers: rows of the table of numbers.
        groups: figures.
        tables: of all runs.
    """

    anchor: str
    leading: bool
    title: str
    reproduces: str
    texts: list[str]
    runs: list[str]
    numbers: list[NumberRow]
    groups: list[FigureGroup]
    tables: list[ShownTable]


def make_sections(runs: Sequence[Run], problems: list[str]) -> list[Section]:
    """Return a section for each analysis of any run, in the order of `convlens.stats.results.ANALYSES`."""
    found: dict[str, list[tuple[Run, Result]]] = {}
    for run in runs:
        for result in run.results:
            found.setdefault(result.analysis, []).append((run, result))
    ordered = sorted(found.items(), key=lambda item: (position(item[0]), item[0]))
    return [_section(f"analysis-{index}", pairs, problems) for index, (_, pairs) in enumerate(ordered, start=1)]


def _section(anchor: str, pairs: Sequence[tuple[Run, Result]], problems: list[str]) -> Section:
    results = [result for _, result in pairs]
    return Section(
        anchor=anchor,
        leading=results[0].analysis in LEADING,
        title=results[0].title,
        reproduces=next((result.reproduces for result in results if result.reproduces), ""),
        texts=list(dict.fromkeys(result.text for result in results if result.text)),
        runs=[run.name for run, _ in pairs],
        numbers=_numbers(results),
        groups=_groups(pairs, problems),
        tables=_tables(pairs),
    )


def _numbers(results: Sequence[Result]) -> list[NumberRow]:
    by_run = [{(item.name, item.unit): item for item in result.numbers} for result in results]
    rows = []
    for key in dict.fromkeys(key for numbers in by_run for key in numbers):
        items = [numbers.get(key) for numbers in by_run]
        values = [item.value if item else None for item in items]
        texts = [_percent(value) for value in values] if key[1] == "%" else column(values)[0]
        cells = [(shown, spread(item.spread, shown) if item else "") for shown, item in zip(texts, items, strict=True)]
        rows.append(NumberRow(*key, cells))
    return rows


def _percent(value: object) -> str:
    return percent(value) if isinstance(value, float) else number(value)


def _groups(pairs: Sequence[tuple[Run, Result]], problems: list[str]) -> list[FigureGroup]:
    by_key: dict[str, list[ShownFigure]] = {}
    for run, result in pairs:
        for figure in result.figures:
            picture = embed(figure.path, run.directory, problems)
            shown = ShownFigure(run.name, figure.caption, figure.path.name, picture)
            by_key.setdefault(figure.key, []).append(shown)
    open_ones = len(by_key) if len(by_key) <= MANY else 2
    return [FigureGroup(key, index < open_ones, figures) for index, (key, figures) in enumerate(by_key.items())]


def _tables(pairs: Sequence[tuple[Run, Result]]) -> list[ShownTable]:
    """Return the tables of all runs, those of the same title one after the other."""
    tables = [(run.name, table) for run, result in pairs for table in result.tables]
    titles = list(dict.fromkeys(table.title for _, table in tables))
    shown = []
    for name, table in sorted(tables, key=lambda item: titles.index(item[1].title)):
        columns = [column([row[index] for row in table.rows]) for index in range(len(table.columns))]
        rows = [list(row) for row in zip(*(texts for texts, _ in columns), strict=True)]
        shown.append(ShownTable(name, table.title, table.columns, [numeric for _, numeric in columns], rows))
    return shown
