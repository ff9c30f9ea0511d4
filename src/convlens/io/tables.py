"""Tables as files: markdown to read, csv and parquet to go on with."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow import parquet

from convlens.io.atomic import replacing, write_bytes


def write_tables(folder: Path, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows with the same columns as ``name.md``, ``name.csv`` and ``name.parquet``; None is an empty cell."""
    columns = list(rows[0])
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_bytes(folder / f"{name}.csv", text.getvalue().encode())
    lines = [columns, ["---"] * len(columns), *([cell(row[column]) for column in columns] for row in rows)]
    marked = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    write_bytes(folder / f"{name}.md", f"{marked}\n".encode())
    with replacing(folder / f"{name}.parquet") as partial:
        parquet.write_table(pyarrow.Table.from_pylist([dict(row) for row in rows]), partial)


def cell(value: Any) -> str:
    """A value in a markdown table."""
    if value is None:
        return ""
    return f"{value:.2f}" if isinstance(value, float) else str(value).replace("|", "\\|")
