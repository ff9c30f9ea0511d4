"""``task=ensemble``: test errors of several trained networks as one, by their mean probabilities (Table 2)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import DictConfig

from convlens.errors import InputError
from convlens.metrics.ensemble import EnsembleErrors
from convlens.runs.analysis import write_and_log
from convlens.runs.groups import choices_of
from convlens.runs.predictions import ensemble_of
from convlens.runs.record_file import read_record
from convlens.runs.run_config import read_config
from convlens.runs.run_directory import open_run
from convlens.runs.table_2 import table_2
from convlens.stats.paired import paired_difference
from convlens.stats.paper_tables import kind_of, table_2_row
from convlens.stats.results import AnalysisResult, Table


@dataclass(frozen=True)
class Settings:
    """Settings of the task; ``conf/task/ensemble.yaml`` has their values and what they mean."""

    run_dirs: Sequence[str]


@dataclass(frozen=True)
class Member:
    """A set of networks, or one alone, and their errors as one.

    Attributes:
        name: of the set.
        networks: number of networks of each kind.
        errors: of the mean of their probabilities.
    """

    name: str
    networks: Mapping[str, int]
    errors: EnsembleErrors


def run(cfg: DictConfig, overrides: list[str], settings: Settings) -> int:
    """Write ``results/ensemble``: the errors of each network, of those of each kind and of all together."""
    paths = [Path(directory) for directory in settings.run_dirs]
    if len(paths) < 2 or len(set(paths)) < len(paths):
        raise InputError(
            f"task.run_dirs=[{','.join(settings.run_dirs)}]: give the directories of at least two runs, each once"
        )
    with open_run(cfg, overrides, "ensemble") as run_dir:
        names = [read_record(path).get("name", path.name) for path in paths]
        kinds = runs_by_kind(paths)
        together = Member(f"{len(paths)} networks", {kind: len(own) for kind, own in kinds.items()}, ensemble_of(paths))
        kind_name = {path: kind for kind, own in kinds.items() for path in own}
        single = [
            Member(name, {kind_name[path]: 1}, ensemble_of([path])) for name, path in zip(names, paths, strict=True)
        ]
        several = [
            Member(f"{len(own)} networks, {kind}", {kind: len(own)}, ensemble_of(own))
            for kind, own in kinds.items()
            if 1 < len(own) < len(paths)
        ]
        errors = together.errors
        answer = f"{len(paths)} networks: top-1 error {errors.top1_error:.2f} %, top-5 error {errors.top5_error:.2f} %"
        result = ensemble_result(single, several, together, table_2(kinds))
        write_and_log(result, run_dir / "results" / "ensemble", overrides, [answer])
    return 0


def runs_by_kind(paths: Sequence[Path]) -> dict[str, list[Path]]:
    """Return run directories by the kind of their network, such as ``zfnet`` and ``zfnet_wide``."""
    found: dict[str, list[Path]] = {}
    for path in paths:
        choices = choices_of(path, read_config(path) or {})
        found.setdefault(kind_of(choices["model"], choices["ablation"]), []).append(path)
    return found


def ensemble_result(
    single: Sequence[Member], several: Sequence[Member], together: Member, paper: Table | None
) -> AnalysisResult:
    """Return the result for the report.

    Args:
        single: each network.
        several: the networks of each kind together, where they are not all.
        together: all networks.
        paper: the paper's Table 2; None if none of its networks is among them.
    """
    rows = []
    for member in (*single, *several, together):
        row = table_2_row(member.networks)
        printed = [None] * 3 if row is None else [None if error is None else f"{error:.1f}" for error in row[1:]]
        rows.append([member.name, f"{member.errors.top1_error:.2f}", f"{member.errors.top5_error:.2f}", *printed])
    best = min((member.errors for member in single), key=lambda errors: errors.top1_error)
    wrong = together.errors.wrong[1]
    gap = paired_difference(torch.from_numpy(best.wrong[1]), torch.from_numpy(wrong))
    columns = ("network", "top-1", "top-5", "paper: val top-1", "paper: val top-5", "paper: test top-5")
    return AnalysisResult(
        "ensemble",
        f"{len(single)} networks as one",
        "Table 2",
        f"Errors of the mean of the networks' probabilities on the same {len(wrong)} test images. On top-1 the best "
        f"single network is {gap.difference:+.2f} points worse ({gap.low:+.2f} to {gap.high:+.2f}). Beside them the "
        "paper's row of the same networks on ImageNet; of several it has five of a kind, and five (a) with one (b).",
        tables=[Table("error, %", columns, rows), *([] if paper is None else [paper])],
    )
