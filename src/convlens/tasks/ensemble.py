"""``task=ensemble task.runs=[...]``: several trained networks as one (Table 2)."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from convlens.errors import InputError
from convlens.io.atomic import write_json
from convlens.metrics.ensemble import Averaged, averaged
from convlens.runs.record import command_line, read_json
from convlens.runs.subject import open_run
from convlens.stats.paired import paired_difference

log = logging.getLogger(__name__)


def run(cfg: DictConfig, overrides: list[str], *, runs: Sequence[str] | str) -> int:
    """Write ``results/ensemble``: the errors of each network and of all together."""
    paths = [Path(run) for run in ([runs] if isinstance(runs, str) else runs)]
    if len(paths) < 2 or len(set(paths)) < len(paths):
        raise InputError(
            f"task.runs={[str(path) for path in paths]}: give the directories of at least two runs, each once"
        )
    with open_run(cfg, overrides, "ensemble") as run_dir:
        together, alone = averaged(paths), [averaged([path]) for path in paths]
        file = run_dir / "results" / "ensemble" / "result.json"
        command = command_line(overrides)
        write_json(file, {**result(paths, alone, together), "command": command})
    log.info(
        "%d networks: top-1 error %.2f %%, top-5 error %.2f %%; results in %s",
        len(paths), together.top1_error, together.top5_error, file.parent,
    )  # fmt: skip
    return 0


def result(paths: Sequence[Path], alone: Sequence[Averaged], together: Averaged) -> dict[str, Any]:
    """What the report reads."""
    names = [read_json(path / "run.json").get("name", path.name) for path in paths]
    rows = [[name, f"{one.top1_error:.2f}", f"{one.top5_error:.2f}"] for name, one in zip(names, alone, strict=True)]
    rows.append([f"{len(paths)} networks", f"{together.top1_error:.2f}", f"{together.top5_error:.2f}"])
    best = min(alone, key=lambda one: one.top1_error)
    gap = paired_difference(*(torch.from_numpy(one.wrong[1]) for one in (best, together)))
    return {
        "analysis": "ensemble",
        "title": f"{len(paths)} networks as one",
        "reproduces": "Table 2",
        "order": 12,
        "text": (
            f"The mean of the networks' probabilities on the same {len(together.images)} test images. On top-1 the "
            f"best of them alone is {gap.difference:+.2f} points worse ({gap.low:+.2f} to {gap.high:+.2f}). Paper: "
            "one network 38.4 and 16.5 %, five 36.7 and 15.3 %, six with the wide one 36.0 and 14.7 %."
        ),
        "numbers": [],
        "figures": [],
        "tables": [{"title": "error, %", "columns": ["network", "top-1", "top-5"], "rows": rows}],
    }
