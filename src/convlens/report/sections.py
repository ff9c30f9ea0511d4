"""The analyses of all runs, each a section in which the runs stand side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

from convlens.report.embed import Embedded, embed
from convlens.report.format import column, number, percent, spread
from convlens.report.study_record import Result, Run

MANY = 3
"""With more groups of figures than this only the first two are open."""


LEADING = 10
"""Results of a lower order come before the networks one by one."""


@dataclass(frozen=True)
class Shown:
    """A figure of one run; without a picture where the file is missing or broken."""

    run: str
    caption: str
    file: str
    picture: Embedded | None


@dataclass(frozen=True)
class Group:
    """The figures of all runs that share a key."""

    key: str
    open: bool
    figures: list[Shown]

    @property
    def caption(self) -> str:
        """The caption that all figures share, said once; nothing where they differ or it repeats the key."""
        captions = {shown.caption for shown in self.figures}
        return "" if len(captions) > 1 or captions == {self.key} else captions.pop()


@dataclass(frozen=True)
class NumberRow:
    """A number of all runs: (value, spread) as text for each run of the section."""

    name: str
    unit: str
    cells: list[tuple[str, str]]


@dataclass(frozen=True)
class ShownTable:
    """A table as text; `numeric` tells which columns hold numbers."""

    run: str
    title: str
    columns: list[str]
    numeric: list[bool]
    rows: list[list[str]]


@dataclass(frozen=True)
class Section:
    """One analysis."""

    anchor: str
    leading: bool
    title: str
    reproduces: str
    texts: list[str]
    runs: list[str]
    numbers: list[NumberRow]
    groups: list[Group]
    tables: list[ShownTable]


def make_sections(runs: Sequence[Run], problems: list[str]) -> list[Section]:
    """A section for each analysis that any run has, in the order the results ask for."""
    found: dict[str, list[tuple[Run, Result]]] = {}
    for run in runs:
        for result in run.results:
            found.setdefault(result.analysis, []).append((run, result))
    ordered = sorted(found.items(), key=lambda item: (min(result.order for _, result in item[1]), item[0]))
    return [_section(f"analysis-{index}", pairs, problems) for index, (_, pairs) in enumerate(ordered, start=1)]


def _section(anchor: str, pairs: Sequence[tuple[Run, Result]], problems: list[str]) -> Section:
    results = [result for _, result in pairs]
    return Section(
        anchor=anchor,
        leading=min(result.order for result in results) < LEADING,
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


def _groups(pairs: Sequence[tuple[Run, Result]], problems: list[str]) -> list[Group]:
    by_key: dict[str, list[Shown]] = {}
    for run, result in pairs:
        for figure in result.figures:
            picture = embed(figure.path, run.directory, problems)
            shown = Shown(run.name, figure.caption, figure.path.name, picture)
            by_key.setdefault(figure.key, []).append(shown)
    open_ones = len(by_key) if len(by_key) <= MANY else 2
    return [Group(key, index < open_ones, figures) for index, (key, figures) in enumerate(by_key.items())]


def _tables(pairs: Sequence[tuple[Run, Result]]) -> list[ShownTable]:
    """The tables of all runs; those with the same title follow each other."""
    tables = [(run.name, table) for run, result in pairs for table in result.tables]
    titles = list(dict.fromkeys(table.title for _, table in tables))
    shown = []
    for name, table in sorted(tables, key=lambda item: titles.index(item[1].title)):
        columns = [column([row[index] for row in table.rows]) for index in range(len(table.columns))]
        rows = [list(row) for row in zip(*(texts for texts, _ in columns), strict=True)]
        shown.append(ShownTable(name, table.title, table.columns, [numeric for _, numeric in columns], rows))
    return shown
