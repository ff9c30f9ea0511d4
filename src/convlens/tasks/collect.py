"""``task=collect sweep=DIR``: one table of the finished runs below a folder (Tables 2 and 3)."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from convlens.analysis.ablation.claims import Rows, claims, paired
from convlens.callbacks.at_epochs import show_table
from convlens.errors import InputError
from convlens.figures.bar_plots import bars
from convlens.figures.png import save_png
from convlens.io.atomic import directory_lock, write_json
from convlens.io.tables import write_tables
from convlens.metrics.ensemble import average_runs
from convlens.runs.freshness import finished_runs, keep_collected
from convlens.runs.groups import MEASURES, Group, find_groups, names_of
from convlens.runs.record import command_line
from convlens.runs.task_loggers import loggers_of
from convlens.stats.claims import Estimate
from convlens.stats.paper_tables import AVERAGED, ORDER, TABLE3
from convlens.stats.seed_contrast import Wrong, contrast

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
    collect_and_log(cfg, Path(cfg.sweep), command_line(overrides))
    return 0


def collect_and_log(cfg: DictConfig, sweep: Path, command: str = "") -> None:
    """Write ``results/collect`` into the folder, and show its table in the loggers."""
    there_before = finished_runs(sweep)  # of one that ends meanwhile the next sweep makes a new table
    rows = collect(sweep, command)
    if set(cfg.logger) - {"csv"}:
        there = OmegaConf.merge(cfg, {"run_dir": str(sweep), "job_name": f"{sweep.resolve().name}/collect"})
        with loggers_of(there) as loggers:  # type: ignore[arg-type]
            show_table(loggers, "collect/runs", list(rows[0]), [list(row.values()) for row in rows], 0)
    keep_collected(sweep, there_before, cfg.logger)


def collect(sweep: Path, command: str = "") -> list[dict[str, Any]]:
    """Write ``results/collect`` into the folder; the rows of the table. Waits for another process that does so.

    Raises:
        InputError: there is no finished run.
    """
    folder = sweep / "results" / "collect"
    find_groups(sweep)  # a folder without runs stays as it is
    with directory_lock(folder, wait=True):
        groups, others = find_groups(sweep)
        known = {name: place for place, name in enumerate(ORDER)}
        groups.sort(key=lambda g: (sorted(g.setting.items()), g.model, known.get(g.ablation, len(known))))
        gaps = {id(one): gap for own in settings_of(groups) for one, gap in differences(own)}
        rows = [row(name, one, gaps.get(id(one))) for name, one in zip(names_of(groups), groups, strict=True)]
        write_tables(folder, "table", rows)
        for earlier in folder.glob("*.png"):
            earlier.unlink()
        figures, found = [], []
        for number, own in enumerate(settings_of(groups)):
            about = ", ".join(value if key == "data" else f"{key}={value}" for key, value in _telling(own, groups))
            heights, spreads = _heights(own, "mean"), _heights(own, "sd")
            file = f"errors{f'_{number + 1}' if number else ''}.png"
            save_png(bars(heights, y_label="test top-1 error, %", spread=spreads), folder / file)
            caption = f"Test top-1 error, {about}; bars show the standard deviation over seeds."
            figures.append({"file": file, "key": file, "caption": caption})
            found += claims(networks(own), about)
        said = command or f"convlens task=collect sweep={sweep}"
        write_json(folder / "result.json", result(rows, groups, others, found, figures, said))
    log.info("%d rows of %d runs: %s", len(rows), sum(len(group.runs) for group in groups), folder / "table.md")
    return rows


def settings_of(groups: Sequence[Group]) -> list[list[Group]]:
    """The groups that were given the same beside their networks."""
    found: dict[tuple[tuple[str, str], ...], list[Group]] = {}
    for group in groups:
        found.setdefault(tuple(sorted(group.setting.items())), []).append(group)
    return list(found.values())


def _telling(own: Sequence[Group], groups: Sequence[Group]) -> list[tuple[str, str]]:
    """The data of some groups, and in what else they differ from others."""
    setting = own[0].setting
    differs = [key for key in setting if len({group.setting.get(key) for group in groups}) > 1 and key != "experiment"]
    return [(key, setting[key]) for key in dict.fromkeys(["data", *sorted(differs)])]


def row(name: str, group: Group, gap: Estimate | None) -> dict[str, Any]:
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
    for part in ("value", "low", "high"):
        found[f"less base {part}"] = None if gap is None else getattr(gap, part)
    averaged = average_runs(group.runs) if len(group.runs) > 1 else None
    found["averaged top-1"] = averaged and averaged.top1_error
    found["averaged top-5"] = averaged and averaged.top5_error
    paper = TABLE3.get((group.model, group.ablation), (None, None, None))
    together = AVERAGED.get((group.model, group.ablation), (None, None))
    keys = (*PAPER, "paper five averaged top-1", "paper five averaged top-5")
    return found | dict(zip(keys, (*paper, *together), strict=True))


def _base(group: Group, groups: Sequence[Group]) -> Group | None:
    """What a group is compared with: the same without its ablation."""
    if group.ablation == "none":
        return None
    same = {**group.given, "ablation": "none"}
    return next((one for one in groups if one.given == same), None)


def differences(groups: Sequence[Group]) -> Iterator[tuple[Group, Estimate]]:
    """Test top-1 error of groups of one setting less that of their network without the ablation."""
    wrong = _paired({str(id(group)): group for group in groups})
    for group in groups:
        base = _base(group, groups)
        names = (str(id(group)), str(id(base)))
        if base is not None and paired(names, wrong):
            yield group, contrast({names[0]: 1, names[1]: -1}, wrong)


def _paired(groups: Mapping[str, Group]) -> dict[str, Wrong]:
    """Which test images were wrong, by group and seed, of those that were tested on the same images as the first."""
    found: dict[str, Wrong] = {}
    reference: Any = None
    for name, group in groups.items():
        own = group.wrong("test")
        if reference is None and own:
            reference = next(iter(own.values()))[0]
        same = {seed: wrong for seed, (images, wrong) in own.items() if np.array_equal(images, reference)}
        if same:
            found[name] = same
    return found


def networks(groups: Sequence[Group]) -> dict[str, Rows]:
    """The groups of one setting by network and ablation."""
    names = {f"{group.model} {group.ablation}": group for group in groups}
    # Images that were trained on are others with another seed, which also chooses those to validate with.
    trained_on = {name: {seed: own for seed, (_, own) in group.wrong("seen").items()} for name, group in names.items()}
    tested_on, found = _paired(names), {}
    for model in dict.fromkeys(group.model for group in groups):
        own = {group.ablation: f"{model} {group.ablation}" for group in groups if group.model == model}
        test = {key: tested_on[name] for key, name in own.items() if name in tested_on}
        seen = {key: trained_on[name] for key, name in own.items() if trained_on[name]}
        base = names[own["none"]].metrics[0] if "none" in own else {}
        dense = 1 - base.get("conv_parameters", 0) / base.get("parameters", 1)
        found[model] = Rows(model, test, seen, dense)
    return found


def _heights(groups: Sequence[Group], what: str) -> dict[str, dict[str, float]]:
    """For the plot: series by network, labels by its ablation."""
    found: dict[str, dict[str, float]] = {}
    for group in groups:
        values = group.values("test/top1_error")
        known = values[np.isfinite(values)]
        value = float(known.mean()) if what == "mean" and len(known) else np.nan
        if what == "sd" and len(known) > 1:
            value = float(known.std(ddof=1))
        label = "as published" if group.ablation == "none" else group.ablation.replace("_", " ")
        found.setdefault(group.model, {})[label] = value
    return found


def result(
    rows: Sequence[Mapping[str, Any]], groups: Sequence[Group], others: Mapping[str, int], found: Sequence[Any],
    figures: Sequence[Mapping[str, str]], command: str,
) -> dict[str, Any]:  # fmt: skip
    """What the report reads."""
    left = ", ".join(f"{count} {status}" for status, count in others.items())
    seeds = sorted({len(group.runs) for group in groups})
    count = sum(len(group.runs) for group in groups)
    text = (
        f"{count} finished runs, {' or '.join(map(str, seeds))} seeds each: mean and standard deviation of the errors "
        "in percent. Seen: images that were trained on, looked at as the test images are. The difference to the "
        "network without the ablation is paired by image, with an interval of 95 % over the choice of images and "
        "seeds: what another seed changes is estimated from all rows together. With one seed nothing is decided. "
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
        "figures": list(figures),
        "tables": [{"title": "error, %", "columns": list(COLUMNS), "rows": [_shown(one) for one in rows]}],
        "claims": [claim.as_json() for claim in found],
    }


PAPER = ("paper train top-1", "paper val top-1", "paper val top-5")
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
    paper = [one[key] for key in PAPER]
    return [
        one["network"], str(one["seeds"]), number("seen top-1"), number("val top-1"), number("test top-1"), less,
        number("test top-5"), number("averaged top-1"), number("parameters, M", 2),
        ", ".join("-" if value is None else f"{value:.1f}" for value in paper) if any(paper) else "",
    ]  # fmt: skip
