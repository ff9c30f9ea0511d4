"""The settings in which configurations differ: the fewest that tell all of them apart."""

from collections.abc import Hashable, Mapping, Sequence

CHOICES = ("model", "ablation", "data", "recipe")
"""Groups of the configuration whose chosen option is recorded with a run."""


def distinguishing(values: Sequence[Mapping[str, object]], given: Sequence[str]) -> list[str]:
    """Return few settings that, with those given, tell all mappings apart; names with few dots are preferred."""
    names = {name for own in values for name in own} - set(given)
    chosen: list[str] = []

    def count(keys: Sequence[str]) -> int:
        return len({tuple(hashable(own.get(key)) for key in keys) for own in values})

    for name in sorted(names, key=lambda name: (name not in CHOICES, name.count("."), name)):
        if count([*given, *chosen, name]) > count([*given, *chosen]):
            chosen.append(name)
    return chosen


def hashable(value: object) -> Hashable:
    """Return a value that is equal for equal settings: 1 and 1.0 are equal, 1 and true are not."""
    if isinstance(value, list):
        return tuple(hashable(item) for item in value)
    return str(value) if isinstance(value, bool | dict) else value
