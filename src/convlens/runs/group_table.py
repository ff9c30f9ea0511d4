"""Rows of the table of runs: errors over seeds, differences to the base network, and the paper's Tables 2 and 3."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from convlens.analysis.ablation.claims import AblationErrors, can_pair
from convlens.errors import InputError
from convlens.io.tables import Cell
from convlens.runs.groups import MEASURES, Group, base_of
from convlens.runs.predictions import ensemble_of
from convlens.stats.estimates import Estimate
from convlens.stats.paper_tables import TABLE_3, kind_of, table_2_row
from convlens.stats.seed_contrast import WrongBySeed, contrast

COLUMN_OF = dict(zip(MEASURES, ("train top-1", "val top-1", "test top-1", "test top-5"), strict=True))
PAPER = ("paper train top-1", "paper val top-1", "paper val top-5")
HEADINGS = (
    *("network", "seeds", "train top-1", "val top-1", "test top-1", "minus base", "test top-5"),
    *("ensemble top-1", "parameters, M", "paper: train, val, top-5"),
)
"""Columns of the table in the report."""


def group_row(name: str, group: Group, gap: Estimate | None) -> dict[str, Cell]:
    """Return the numbers of a group for ``table.csv``.

    Args:
        name: name of the group.
        group: its runs; errors are means over them, with their standard deviations.
        gap: test top-1 error minus that of the base network.
    """
    row: dict[str, Cell] = {"network": name, "seeds": len(group.runs)}
    for measure, column in COLUMN_OF.items():
        row[column], row[f"{column} sd"] = mean_and_deviation(group, measure)
    for column, key in (("parameters, M", "parameters"), ("in convolutions, M", "conv_parameters")):
        count = group.metrics[0].get(key)
        row[column] = None if count is None else count / 1e6
    bounds = (None, None, None) if gap is None else (gap.value, gap.low, gap.high)
    row |= dict(zip(("minus base value", "minus base low", "minus base high"), bounds, strict=True))
    row["ensemble top-1"], row["ensemble top-5"] = _ensemble(group)
    paper = TABLE_3.get((group.model, group.ablation), (None, None, None))
    kind = kind_of(group.model, group.ablation)
    one, five = table_2_row({kind: 1}), table_2_row({kind: 5})
    row |= dict(zip(PAPER, paper, strict=True)) | {"paper test top-5": one and one.test_top5}
    names = ("top-1", "top-5", "test top-5")
    return row | {f"paper ensemble of five {name}": five and five[place] for place, name in enumerate(names, 1)}


def mean_and_deviation(group: Group, measure: str) -> tuple[float | None, float | None]:
    """Return mean and standard deviation of a metric over the runs of a group; None if unknown."""
    values = group.values(measure)
    known = values[np.isfinite(values)]
    return (
        float(known.mean()) if len(known) else None,
        float(known.std(ddof=1)) if len(known) > 1 else None,
    )


def _ensemble(group: Group) -> tuple[float | None, float | None]:
    """Return top-1 and top-5 error of a group's networks together; None for one run or missing probabilities."""
    if len(group.runs) < 2:
        return None, None
    try:
        errors = ensemble_of(group.runs)
    except InputError:
        return None, None
    return errors.top1_error, errors.top5_error


def report_row(row: Mapping[str, Cell]) -> list[str]:
    """Return a row of the table in the report, with the columns of ``HEADINGS``."""

    def number(key: str, digits: int = 1) -> str:
        value, deviation = row[key], row.get(f"{key} sd")
        if value is None:
            return ""
        return f"{value:.{digits}f}" + (f" ± {deviation:.{digits}f}" if deviation is not None else "")

    gap = row["minus base value"]
    minus_base = "" if gap is None else f"{gap:+.1f} ({row['minus base low']:.1f} to {row['minus base high']:.1f})"
    paper = [row[key] for key in PAPER]
    return [
        *(str(row["network"]), str(row["seeds"])),
        *(number(column) for column in ("train top-1", "val top-1", "test top-1")),
        *(minus_base, number("test top-5"), number("ensemble top-1")),
        number("parameters, M", 2),
        ", ".join("-" if value is None else f"{value:.1f}" for value in paper) if any(paper) else "",
    ]


def differences(groups: Sequence[Group]) -> Iterator[tuple[Group, Estimate]]:
    """Yield the groups that have a base network, with their test top-1 error minus the base's in percent points.

    Args:
        groups: groups that differ only in the network and its ablation.
    """
    wrong = _wrong_on_same_images({str(number): group for number, group in enumerate(groups)})
    number_of = {id(group): str(number) for number, group in enumerate(groups)}
    for group in groups:
        base = base_of(group, groups)
        if base is None:
            continue
        own, other = number_of[id(group)], number_of[id(base)]
        if can_pair((own, other), wrong):
            yield group, contrast({own: 1, other: -1}, wrong)


def ablation_errors(groups: Sequence[Group]) -> dict[str, AblationErrors]:
    """Return the errors of each network with its ablations, by name of the network.

    Args:
        groups: groups that differ only in the network and its ablation.
    """
    by_name = {f"{group.model} {group.ablation}": group for group in groups}
    # The training images depend on the seed, which also chooses the validation images: they are not paired.
    trained_on = {
        name: {seed: wrong for seed, (_, wrong) in group.wrong("train_eval").items()} for name, group in by_name.items()
    }
    tested_on, found = _wrong_on_same_images(by_name), {}
    for model in dict.fromkeys(group.model for group in groups):
        names = {group.ablation: f"{model} {group.ablation}" for group in groups if group.model == model}
        test = {ablation: tested_on[name] for ablation, name in names.items() if name in tested_on}
        train = {ablation: trained_on[name] for ablation, name in names.items() if trained_on[name]}
        base = by_name[names["none"]].metrics[0] if "none" in names else {}
        conv_share = (base.get("conv_parameters") or 0) / (base.get("parameters") or 1)
        found[model] = AblationErrors(model, test, train, 1 - conv_share)
    return found


def _wrong_on_same_images(groups: Mapping[str, Group]) -> dict[str, WrongBySeed]:
    """Return by group and seed which test images were wrong, for runs tested on the same images as the first one."""
    found: dict[str, WrongBySeed] = {}
    reference: np.ndarray | None = None
    for name, group in groups.items():
        own = group.wrong("test")
        if reference is None and own:
            reference = next(iter(own.values()))[0]
        same = {
            seed: wrong
            for seed, (images, wrong) in own.items()
            if reference is not None and np.array_equal(images, reference)
        }
        if same:
            found[name] = same
    return found
