"""Old names of configuration keys and options, and the migration of configurations that were written with them."""

import re
from collections.abc import Iterable, Mapping, MutableMapping, Sequence

OLD_KEYS: tuple[tuple[str, str, str], ...] = (
    ("callbacks.*", "rules.seed", "rules.signal"),
    ("data", "corrupt", "on_corrupt"),
    ("data", "fit", "resize_mode"),
    ("model", "init", "pretrained"),
    ("task.*", "correct", "only_correct"),
    ("task.*", "outputs", "class_map"),
    ("task.compare", "runs", "run_dirs"),
    ("task.correspond", "drawn", "num_examples"),
    ("task.correspond", "fill", "occluder"),
    ("task.correspond", "random", "random_regions"),
    ("task.diagnose", "runs", "run_dirs"),
    ("task.diagnose", "shifted", "shift_images"),
    ("task.duplicates", "block", "block_size"),
    ("task.duplicates", "shown", "max_pairs_shown"),
    ("task.ensemble", "runs", "run_dirs"),
    ("task.invariance", "drawn", "num_examples"),
    ("task.invariance", "form", "distance"),
    ("task.invariance", "kinds", "transforms"),
    ("task.occlude", "drawn", "num_examples"),
    ("task.occlude", "fill", "occluder"),
    ("task.occlude", "others", "search_images"),
    ("task.project", "images_at_once", "max_images"),
    ("task.project", "rules.seed", "rules.signal"),
    ("task.report", "runs", "run_dirs"),
    ("task.transfer", "beside", "baselines"),
    ("task.transfer", "c", "C"),
    ("task.transfer", "cells", "pool_size"),
    ("task.transfer", "drawn", "num_examples"),
    ("task.transfer", "exclusive", "multilabel_policy"),
    ("task.transfer", "inner_folds", "cv_folds"),
    ("task.transfer", "normalise", "normalize"),
    ("task.transfer", "random", "random_weights_control"),
    ("task.transfer", "together", "extract_all_layers"),
)
OLD_VALUES = (("task.transfer", "normalize", "standardise", "standardize"),)
"""Values that are called otherwise: scope, key (its present name), old value, new value."""
OLD_OPTIONS = {("task", "pack"): "write_shards"}
"""Options of groups: group and old name to new name."""
OLD_TARGETS = {"convlens.tasks.pack.run": "convlens.tasks.write_shards.run"}
"""Import paths in ``_target_`` of files that version 0.1 wrote."""


def renamed_key(key: str, names: Sequence[str] | None) -> str | None:
    """Return one line that names the new key of an old one; None if the key is not an old one.

    Args:
        key: a dotted key of the configuration as typed, such as ``data.fit``.
        names: the keys that exist in its section, which tell tasks with the same old key apart; None: any may.
    """
    for scope, old, new in OLD_KEYS:
        section = "task" if scope.startswith("task.") else "" if scope == "root" else scope
        pattern = re.escape(f"{section}.{old}" if section else old).replace(r"\*", r"[^.]+")
        found = re.fullmatch(rf"({pattern})(\..*)?", key)
        if found and (names is None or {new.partition(".")[0], new.rpartition(".")[2]} & set(names)):
            return f"{key} is called {found[1].removesuffix(old)}{new}{found[2] or ''} since version 0.2"
    return None


def migrate(config: MutableMapping[str, object]) -> None:
    """Rename the old keys, values and import paths of a resolved configuration, in place.

    Args:
        config: plain values, such as the content of a run's ``config.yaml``.
    """
    _migrate_targets(config)
    task = config.get("task")
    name = str(task.get("_target_", "")).removesuffix(".run").rpartition(".")[2] if isinstance(task, Mapping) else ""
    for scope, old, new in OLD_KEYS:
        for section in _sections(config, scope, name):
            _rename(section, old.split("."), new.split("."))
    for scope, key, before, after in OLD_VALUES:
        for section in _sections(config, scope, name):
            if section.get(key) == before:
                section[key] = after


def _sections(config: MutableMapping[str, object], scope: str, task: str) -> list[MutableMapping[str, object]]:
    """Return the sections of a configuration that a scope means; none for the scope of another task."""
    kind, _, name = scope.partition(".")
    if kind == "root":
        return [config]
    if kind == "task" and name not in ("*", task):
        return []
    section = config.get(kind)
    if not isinstance(section, MutableMapping):
        return []
    if name == "*" and kind != "task":
        return [item for item in section.values() if isinstance(item, MutableMapping)]
    return [section]


def _rename(section: MutableMapping[str, object], old: Sequence[str], new: Sequence[str]) -> None:
    holder, target = _select(section, old[:-1]), _select(section, new[:-1])
    if holder is not None and target is not None and old[-1] in holder and new[-1] not in target:
        target[new[-1]] = holder.pop(old[-1])


def _select(config: MutableMapping[str, object], keys: Iterable[str]) -> MutableMapping[str, object] | None:
    found: object = config
    for key in keys:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if isinstance(found, MutableMapping) else None


def _migrate_targets(value: object) -> None:
    if isinstance(value, MutableMapping):
        if (target := str(value.get("_target_"))) in OLD_TARGETS:
            value["_target_"] = OLD_TARGETS[target]
        for item in value.values():
            _migrate_targets(item)
