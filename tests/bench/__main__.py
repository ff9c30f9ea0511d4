"""Runs the benchmarks, ours and the reference in turn within one run: ``make bench`` or ``python -m tests.bench lrn``.

Prints a table and writes ``outputs/bench.json``. A missed bound is said, but is no error: machines differ.
"""

import argparse
import importlib
import json
import os
import platform
import sys
import time
from datetime import date
from pathlib import Path

import torch

MODULES = ("lrn", "training_step", "top", "cache", "projection", "occlusion", "callback", "transfer", "shards", "sweep")
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
        answer = "yes" if row["met"] else "NO"
        lines.append((row["name"], *times, f"{row['ratio']:.3f}", f"{sign} {row['bound']:g}", answer, row["note"]))
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def processor() -> str:
    """Its name as sold, where the system tells."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def main() -> None:
    """Run the named benchmarks, all without names."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(MODULES))
    names = parser.parse_args().names or MODULES
    if unknown := set(names) - set(MODULES):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}: there are {', '.join(MODULES)}")
    rows, start = [], time.monotonic()
    for name in names:
        print(f"{name} ... ", end="", file=sys.stderr, flush=True)
        rows += importlib.import_module(f"tests.bench.{name}").run()
        print(f"done, {time.monotonic() - start:.0f} s since the start", file=sys.stderr)
    machine = {
        "date": date.today().isoformat(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    rows = [{**row, "met": met(row)} for row in rows]
    OUTPUT.parent.mkdir(exist_ok=True)
    unfinished = OUTPUT.with_suffix(".part")
    unfinished.write_text(json.dumps({"machine": machine, "rows": rows}, indent=2))
    unfinished.replace(OUTPUT)
    print(table(rows))
    missed = [row["name"] for row in rows if not row["met"]]
    print(f"{len(rows) - len(missed)} of {len(rows)} bounds met; {OUTPUT}")
    if missed:
        print(f"MISSED: {'; '.join(missed)}")


if __name__ == "__main__":
    main()
