"""Name groups of runs by the settings that tell them apart: network, ablation, and what else differs."""

from collections.abc import Mapping, Sequence

from convlens.runs.groups import Group
from convlens.runs.setting_differences import distinguishing

SECTION = "..."
"""Stands for the value of a name with further settings below it, such as ``callbacks``."""


def names_of(groups: Sequence[Group]) -> list[str]:
    """Return a name for each group: the network, its ablation, and the settings that tell it from the others."""
    values = [_with_sections(group.settings, group.choices) for group in groups]
    keys = distinguishing(values, ("model", "ablation"))
    names = []
    for group, own in zip(groups, values, strict=True):
        ablation = [] if group.ablation == "none" else [group.ablation]
        names.append(", ".join([group.model, *ablation, *_texts(own, keys)]))
    return names


def training_names(parts: Sequence[Sequence[Group]]) -> list[str]:
    """Return a name for each list of groups that differ only in the network: the data, and what else differs."""
    values = [
        _with_sections(part[0].training, {key: part[0].choices.get(key) for key in ("data", "recipe")})
        for part in parts
    ]
    keys = distinguishing(values, ("data",))
    return [", ".join([str(own["data"]), *_texts(own, keys)]) for own in values]


def _with_sections(settings: Mapping[str, object], choices: Mapping[str, object]) -> dict[str, object]:
    """Return settings with the names of the sections they are in, and the names that were chosen for sections."""
    sections = {name.rsplit(".", depth)[0] for name in settings for depth in range(1, name.count(".") + 1)}
    return dict.fromkeys(sections, SECTION) | dict(settings) | dict(choices)


def _texts(own: Mapping[str, object], keys: Sequence[str]) -> list[str]:
    """Return ``name=value`` for each key; null for what is missing, nothing for a section that exists."""
    return [f"{key}={_shown(own.get(key))}" for key in keys if own.get(key) != SECTION]


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else str(value)
