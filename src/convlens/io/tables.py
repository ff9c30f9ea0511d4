"""Write tables as CSV and as markdown."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from convlens.io.atomic import write_bytes
from convlens.io.names import document_bytes

Cell = str | int | float | None


def write_tables(folder: Path, name: str, rows: Sequence[Mapping[str, Cell]]) -> None:
    """Write rows with the same columns as ``name.csv`` and ``name.md``.

    Args:
        folder: created if it does not exist.
        name: of the files, without suffix.
        rows: at least one row, each with a value for every column; None is an empty cell.
    """
    columns = list(rows[0])
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_bytes(folder / f"{name}.csv", document_bytes(text.getvalue()))
    lines = [columns, ["---"] * len(columns), *([format_cell(row[column]) for column in columns] for row in rows)]
    markdown = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    write_bytes(folder / f"{name}.md", document_bytes(f"{markdown}\n"))


def format_cell(value: Cell) -> str:
    """Return a value as a cell of a markdown table: two decimals, empty for None, vertical bars escaped."""
    if value is None:
        return ""
    return f"{value:.2f}" if isinstance(value, float) else str(value).replace("|", "\\|")
