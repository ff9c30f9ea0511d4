"""``task=collect sweep=DIR``: one table of the finished runs below a folder (Tables 2 and 3)."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from convlens import run_records
from convlens.analysis.ablation_claims import Rows, claims
from convlens.analysis.claims import Estimate
from convlens.analysis.contrast import contrast
from convlens.callbacks.at_epochs import show_table
from convlens.errors import InputError
from convlens.figures.bar_plots import bars
from convlens.figures.files import save_png
from convlens.files import alone_in, write_json
from convlens.tasks.averaging import average_runs
from convlens.tasks.collected_runs import MEASURES, Group, find_groups, names_of
from convlens.tasks.dashboards import loggers_of
from convlens.tasks.table3 import ORDER, TABLE3
from convlens.tasks.tables import write_tables

log = logging.getLogger(__name__)

SHOWN = {
    "seen/top1_error": "seen top-1",
    "val/top1_error": "val top-1",
    "test/top1_error": "test top-1",
    "test/top5_error": "test top-5",
}


def run(cfg: DictConfig, overrides: list[str]) -> int:
    """Gather them."""
    if cfg.sweep is None:
        raise InputError("task=collect needs the folder of the runs: sweep=DIR, such as sweep=outputs/ablation")
    rows = collect(Path(cfg.sweep), run_records.command_line(overrides))
    if set(cfg.logger) - {"csv"}:
        with loggers_of(cfg) as loggers:
            show_table(loggers, "collect/runs", list(rows[0]), [list(row.values()) for row in rows], 0)
    return 0


def collect(sweep: Path, command: str = "") -> list[dict[str, Any]]:
    """Write ``results/collect`` into the folder; the rows of the table.

    Raises:
        InputError: there is no finished run, or another process writes the table.
    """
    groups, others = find_groups(sweep)
    known = {name: place for place, name in enumerate(ORDER)}
    groups.sort(key=lambda group: (group.model, known.get(group.ablation, len(known)), sorted(group.given.items())))
    names = names_of(groups)
    rows = [row(name, group, _base(group, groups)) for name, group in zip(names, groups, strict=True)]
    folder = sweep / "results" / "collect"
    with alone_in(folder):
        write_tables(folder, "table", rows)
        figure = bars(_heights(rows), y_label="test top-1 error, %", spread=_heights(rows, " sd"))
        save_png(figure, folder / "errors.png")
        found = claims(networks(groups), groups[0].given.get("data", "parts"))
        write_json(
            folder / "result.json", result(rows, groups, others, found, command or f"task=collect sweep={sweep}")
        )
    log.info("%d rows of %d runs: %s", len(rows), sum(len(group.runs) for group in groups), folder / "table.md")
    return rows


def row(name: str, group: Group, base: Group | None) -> dict[str, Any]:
    """The numbers of a group: means over the seeds with their standard deviations."""
    found: dict[str, Any] = {"network": name, "seeds": len(group.runs)}
    for measure in MEASURES:
        values = group.values(measure)
        known = values[np.isfinite(values)]
        found[SHOWN[measure]] = float(known.mean()) if len(known) else None
        found[f"{SHOWN[measure]} sd"] = float(known.std(ddof=1)) if len(known) > 1 else None
    for name_, key in (("parameters, M", "parameters"), ("in convolutions, M", "conv_parameters")):
        value = group.metrics[0].get(key)
        found[name_] = None if value is None else value / 1e6
    gap = None if base is None else difference(group, base)
    for part in ("value", "low", "high"):
        found[f"less base {part}"] = None if gap is None else getattr(gap, part)
    averaged = average_runs(group.runs) if len(group.runs) > 1 else None
    found["averaged top-1"] = averaged and averaged.top1_error
    found["averaged top-5"] = averaged and averaged.top5_error
    paper = TABLE3.get((group.model, group.ablation), (None, None, None))
    for key, value in zip(("paper train top-1", "paper val top-1", "paper val top-5"), paper, strict=True):
        found[key] = value
    return found


def _base(group: Group, groups: Sequence[Group]) -> Group | None:
    """What a group is compared with: the same without its ablation."""
    if group.ablation == "none":
        return None
    same = {**group.given, "ablation": "none"}
    return next((one for one in groups if {"ablation": "none", **one.given} == same), None)


def difference(group: Group, base: Group) -> Estimate | None:
    """Test top-1 error of a group less that of its base, over the seeds and images that both have."""
    paired = _paired([group, base])
    return None if paired is None else contrast({"own": 1, "base": -1}, dict(zip(("own", "base"), paired, strict=True)))


def _paired(groups: Sequence[Group], split: str = "test") -> list[np.ndarray] | None:
    """Which images were wrong, for the seeds that all groups have; None where their images differ."""
    shared = sorted(set.intersection(*(set(group.seeds) for group in groups)))
    found = [group.wrong(split) for group in groups]
    if not shared or any(one is None for one in found):
        return None
    picked = [[list(group.seeds).index(seed) for seed in shared] for group in groups]
    images, wrong = zip(*((one[0][at], one[1][at]) for one, at in zip(found, picked, strict=True) if one), strict=True)
    same = all(np.array_equal(images[0], other) for other in images[1:])
    return list(wrong) if same else None


def networks(groups: Sequence[Group]) -> dict[str, Rows]:
    """The groups by network and ablation, as far as all of a network can be paired."""
    found = {}
    usual = {key: value for key, value in groups[0].given.items() if key not in ("model", "ablation")}
    own = [
        group for group in groups if usual == {k: v for k, v in group.given.items() if k not in ("model", "ablation")}
    ]
    paired = {split: _paired(own, split) for split in ("test", "seen")}
    if paired["test"] is None:
        return {}
    for model in dict.fromkeys(group.model for group in own):
        places = [place for place, group in enumerate(own) if group.model == model]
        wrong: dict[str, Mapping[str, np.ndarray]] = {
            split: {own[place].ablation: values[place] for place in places} if values is not None else {}
            for split, values in paired.items()
        }
        base = next((own[place].metrics[0] for place in places if own[place].ablation == "none"), {})
        dense = 1 - base.get("conv_parameters", 0) / base.get("parameters", 1)
        found[model] = Rows(model, wrong["test"], wrong["seen"], dense)
    return found


def _setting(group: Group) -> dict[str, str]:
    """What a group was given beside its network."""
    return {key: value for key, value in group.given.items() if key not in ("model", "ablation")}


def _heights(rows: Sequence[Mapping[str, Any]], suffix: str = "") -> dict[str, dict[str, float]]:
    """For the plot: series by network, labels by the rest of the name."""
    found: dict[str, dict[str, float]] = {}
    for one in rows:
        model, _, rest = one["network"].partition(", ")
        value = one[f"test top-1{suffix}"]
        found.setdefault(model, {})[(rest or "as published").replace("_", " ")] = np.nan if value is None else value
    return found


def result(
    rows: Sequence[Mapping[str, Any]], groups: Sequence[Group], others: Mapping[str, int], found: Sequence[Any],
    command: str,
) -> dict[str, Any]:  # fmt: skip
    """What the report reads."""
    left = ", ".join(f"{count} {status}" for status, count in others.items())
    seeds = sorted({len(group.runs) for group in groups})
    count = sum(len(group.runs) for group in groups)
    text = (
        f"{count} finished runs, {' or '.join(map(str, seeds))} seeds each: mean and standard deviation of the errors "
        "in percent. Seen: images that were trained on, looked at as the test images are. The difference to the "
        "network without the ablation is paired by image and seed, with an interval of 95 % over the choice of both. "
        "Averaged: the networks of a row as one, by the mean of their probabilities."
    )
    return {
        "analysis": "collect",
        "title": "All networks beside each other",
        "reproduces": "Tables 2 and 3",
        "order": 5,
        "text": text + (f" Not in the table: {left}." if left else ""),
        "command": command,
        "numbers": [],
        "figures": [
            {"file": "errors.png", "caption": "Test top-1 error; bars show the standard deviation over seeds."}
        ],
        "tables": [{"title": "error, %", "columns": list(COLUMNS), "rows": [_shown(one) for one in rows]}],
        "claims": [claim.as_json() for claim in found],
    }


COLUMNS = (
    *("network", "seeds", "seen top-1", "val top-1", "test top-1", "less base", "test top-5"),
    *("averaged top-1", "parameters, M", "paper: train, val, top-5"),
)


def _shown(one: Mapping[str, Any]) -> list[str]:
    """A row of the table to read."""

    def number(key: str, digits: int = 1) -> str:
        value, spread = one[key], one.get(f"{key} sd")
        return (
            "" if value is None else f"{value:.{digits}f}" + (f" ± {spread:.{digits}f}" if spread is not None else "")
        )

    gap = one["less base value"]
    less = "" if gap is None else f"{gap:+.1f} ({one['less base low']:.1f} to {one['less base high']:.1f})"
    paper = [one[key] for key in ("paper train top-1", "paper val top-1", "paper val top-5")]
    return [
        one["network"], str(one["seeds"]), number("seen top-1"), number("val top-1"), number("test top-1"), less,
        number("test top-5"), number("averaged top-1"), number("parameters, M", 2),
        "" if paper[0] is None else ", ".join(f"{value:.1f}" for value in paper),
    ]  # fmt: skip
