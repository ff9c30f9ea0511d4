"""``task=ensemble``: test errors of several trained networks as one, by their mean probabilities (Table 2)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import DictConfig

from convlens.errors import InputError
from convlens.metrics.ensemble import EnsembleErrors
from convlens.runs.analysis import write_and_log
from convlens.runs.predictions import ensemble_of
from convlens.runs.record_file import read_record
from convlens.runs.subject import open_run
from convlens.stats.paired import paired_difference
from convlens.stats.results import AnalysisResult, Table


@dataclass(frozen=True)
class Settings:
    """Settings of the task; ``conf/task/ensemble.yaml`` has their values and what they mean."""

    run_dirs: Sequence[str]


def run(cfg: DictConfig, overrides: list[str], settings: Settings) -> int:
    """Write ``results/ensemble``: the errors of each network and of all together."""
    paths = [Path(directory) for directory in settings.run_dirs]
    if len(paths) < 2 or len(set(paths)) < len(paths):
        raise InputError(
            f"task.run_dirs=[{','.join(settings.run_dirs)}]: give the directories of at least two runs, each once"
        )
    with open_run(cfg, overrides, "ensemble") as run_dir:
        names = [read_record(path).get("name", path.name) for path in paths]
        together, single = ensemble_of(paths), [ensemble_of([path]) for path in paths]
        answer = (
            f"{len(paths)} networks: top-1 error {together.top1_error:.2f} %, top-5 error {together.top5_error:.2f} %"
        )
        write_and_log(ensemble_result(names, single, together), run_dir / "results" / "ensemble", overrides, [answer])
    return 0


def ensemble_result(names: Sequence[str], single: Sequence[EnsembleErrors], together: EnsembleErrors) -> AnalysisResult:
    """Return the result for the report.

    Args:
        names: of the networks.
        single: the errors of each network.
        together: the errors of all networks together.
    """
    rows = [
        [name, f"{errors.top1_error:.2f}", f"{errors.top5_error:.2f}"]
        for name, errors in zip([*names, f"{len(names)} networks"], [*single, together], strict=True)
    ]
    best = min(single, key=lambda errors: errors.top1_error)
    gap = paired_difference(*(torch.from_numpy(errors.wrong[1]) for errors in (best, together)))
    return AnalysisResult(
        "ensemble",
        f"{len(names)} networks as one",
        "Table 2",
        f"Errors of the mean of the networks' probabilities on the same {len(together.wrong[1])} test images. On "
        f"top-1 the best single network is {gap.difference:+.2f} points worse ({gap.low:+.2f} to {gap.high:+.2f}). "
        "Paper: one network 38.4 and 16.5 %, five 36.7 and 15.3 %, six with the wide one 36.0 and 14.7 %.",
        tables=[Table("error, %", ["network", "top-1", "top-5"], rows)],
    )
