"""Damaged files of a training run: found before the run is reused or read; needs no torch."""

from collections.abc import Mapping
from pathlib import Path

from convlens.io.file_states import changed_files
from convlens.runs.record_file import read_record

CONFIG, METRICS = "config.yaml", "metrics.json"
CHECKED = (
    CONFIG,
    METRICS,
    "metrics.csv",
    "mean.npy",
    "checkpoints/best.ckpt",
    "checkpoints/last.ckpt",
    "results/test/predictions.npz",
    "results/test/probabilities.npz",
    "results/train_eval/predictions.npz",
)
"""The files that a training run is reused and read by; its record has their states."""


def damaged_files(run_dir: Path) -> list[str]:
    """Return the files of a finished run that are not as it wrote them; files that were removed do not count."""
    return changed_files(run_dir, read_record(run_dir).get("states"))


def is_as_written(run_dir: Path, name: str) -> bool:
    """Return whether a file of a run is as the run wrote it; true where the record does not say."""
    states = read_record(run_dir).get("states")
    return not (isinstance(states, Mapping) and name in states and changed_files(run_dir, {name: states[name]}))
