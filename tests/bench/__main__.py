"""Runs the benchmarks, ours and the reference in turn within one run: ``make bench`` or ``python -m tests.bench lrn``.

Prints a table and writes ``outputs/bench.json``. A missed bound is said, but is no error: machines differ.
"""

import importlib
import json
import platform
import sys
from datetime import date
from pathlib import Path

import torch

MODULES = ("lrn", "training_step", "top", "cache")
OUTPUT = Path("outputs") / "bench.json"


def met(row: dict) -> bool:
    """Whether a row keeps its bound; the ratio is ours / reference where less is better, else reference / ours."""
    return row["ratio"] <= row["bound"] if row["less_is_better"] else row["ratio"] >= row["bound"]


def table(rows: list[dict]) -> str:
    """The rows, aligned."""
    lines = [("", "ours", "reference", "ratio", "bound", "met", "")]
    for row in rows:
        sign = "<=" if row["less_is_better"] else ">="
        times = (f"{row[key]:.4g} {row['unit']}" for key in ("ours", "reference"))
        answer = "yes" if met(row) else "NO"
        lines.append((row["name"], *times, f"{row['ratio']:.3f}", f"{sign} {row['bound']:g}", answer, row["note"]))
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def main(names: list[str]) -> None:
    """Run the named benchmarks, all without names."""
    rows = []
    for name in names or MODULES:
        print(f"{name} ...", file=sys.stderr, flush=True)
        rows += importlib.import_module(f"tests.bench.{name}").run()
    machine = {
        "date": date.today().isoformat(),
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps({"machine": machine, "rows": [{**row, "met": met(row)} for row in rows]}, indent=2))
    print(table(rows))
    print(f"{sum(map(met, rows))} of {len(rows)} bounds met; {OUTPUT}")


if __name__ == "__main__":
    main(sys.argv[1:])
