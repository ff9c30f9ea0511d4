"""Check every setting of a composed configuration before anything is written: a wrong type is refused in one line."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException

from convlens.errors import InputError
from convlens.runs.conf_files import groups
from convlens.runs.config_errors import one_line
from convlens.runs.constructors import constructor_of, imported
from convlens.runs.replacement import foreign_entry, holds_runs
from convlens.runs.root_settings import DeviceSettings, ModelSettings, RecipeSettings, RootSettings
from convlens.runs.run_config import plain
from convlens.runs.type_conversion import described, is_node, shown
from convlens.runs.typed_settings import checked, missing_setting, unknown_setting

SECTIONS = ("task", "data", "model", "recipe", "system", "callbacks", "logger", "trainer")
REPORT = "convlens.tasks.report.run"
KINDS = {
    "data": "lightning.LightningDataModule",
    "model": "torch.nn.Module",
    "system": "lightning.LightningModule",
    "callbacks": "lightning.Callback",
    "logger": "lightning.pytorch.loggers.Logger",
    "trainer": "lightning.Trainer",
}
"""Base class of the object that a section's node makes, if its ``_target_`` is a class."""
HYDRA_KEYS = {"_target_": str, "_partial_": bool, "_args_": list, "_recursive_": bool, "_convert_": str}


def check_root(cfg: DictConfig, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Check what needs no import: interpolations, the settings of every command, recipe, model and devices.

    Values are converted in place, such as ``no`` to false.

    Returns:
        The resolved values.

    Raises:
        InputError: an interpolation cannot be resolved, a setting is unknown or of another type, or ``run_dir`` is a
            file, or a directory that is not empty and no run.
    """
    values = _resolved(cfg)
    for section in SECTIONS:
        if not isinstance(values.get(section), Mapping):
            raise InputError(f"{section}={shown(values.get(section))}: give its settings, as --cfg job shows them")
    if "ablation" in values:
        raise InputError("the ablation changes nothing: the first line of its file must be # @package model.net")
    _check_added(cfg, overrides)
    changed = [
        _check_section(cfg, values, "", RootSettings, closed=False),
        _check_section(cfg, values.get("recipe"), "recipe", RecipeSettings),
        _check_section(cfg, values.get("model"), "model", ModelSettings),
        _check_section(cfg, values.get("trainer"), "trainer", DeviceSettings, closed=False),
    ]
    _check_directory(cfg)
    return _resolved(cfg) if any(changed) else values


def check_nodes(cfg: DictConfig, values: Mapping[str, Any]) -> None:
    """Check every node with a ``_target_`` outside of ``task`` against the annotations of what it makes.

    Values are converted in place. Constructors are imported.

    Args:
        cfg: the configuration.
        values: its resolved values.

    Raises:
        InputError: a target cannot be imported, or a setting is unknown, missing or of another type.
    """
    optional = {f"recipe.{name}": values["recipe"][name] for name in ("optimizer", "scheduler")}
    nodes = {place: node for place, node in optional.items() if node is not None}
    nodes |= {"data": values["data"], "model.net": values["model"]["net"], "system": values["system"]}
    for section in ("callbacks", "logger"):
        nodes |= {f"{section}.{name}": node for name, node in values[section].items()}
    for place, node in (nodes | {"trainer": values["trainer"]}).items():
        if isinstance(node, Mapping) and not is_node(node):
            raise InputError(f"{place}._target_ is missing: give settings with a _target_")
        if not is_node(node):
            raise InputError(f"{place}={shown(node)}: give settings with a _target_")
        _check_node(cfg, node, place)
        _check_kind(str(node["_target_"]), place)


def _check_kind(target: str, place: str) -> None:
    """Check that a class is of the kind that its section needs; what a function makes is not known before."""
    made, kind = imported(target, place), KINDS.get(place.partition(".")[0])
    if kind and inspect.isclass(made) and not issubclass(made, imported(kind, place)):
        raise InputError(f"{place}._target_={target} is no {kind}: give one")


def check_node(cfg: DictConfig, where: str) -> None:
    """Check one node and the nodes in it; ``where`` is its dotted place in the configuration.

    Raises:
        InputError: as `check_nodes`.
    """
    node: Any = OmegaConf.to_container(OmegaConf.select(cfg, where), resolve=True)
    _check_node(cfg, node, where)


def _check_node(cfg: DictConfig, node: Mapping[str, Any], where: str) -> None:
    made = constructor_of(str(node["_target_"]), where)
    for name, value in node.items():
        if name in HYDRA_KEYS:
            checked(value, HYDRA_KEYS[name], f"{where}.{name}")
            continue
        place = f"{where}.{name}"
        if not made.takes(name):
            raise unknown_setting(where, name, made.names)
        if is_node(value):
            _check_node(cfg, value, place)
        elif value == "???":
            raise InputError(f"{place} is missing: give {described(made.hints.get(name, Any))}")
        else:
            _store(cfg, place, value, made.convert(value, made.hints.get(name, Any), place))


def _check_section(cfg: DictConfig, values: object, where: str, declared: type, *, closed: bool = True) -> bool:
    """Check the settings of a section against a dataclass; return whether any was converted.

    An open section may have other settings too.
    """
    hints = get_type_hints(declared, include_extras=True)
    names = [field.name for field in fields(declared)]
    if not isinstance(values, Mapping):
        raise InputError(f"{where}={shown(values)}: give {described(declared)}")
    for field in fields(declared):
        if field.default is MISSING and field.name not in values:
            raise missing_setting(f"{where}.{field.name}" if where else field.name, hints[field.name])
    if closed and (unknown := [name for name in values if name not in names]):
        raise unknown_setting(where, str(unknown[0]), names)
    changed = False
    for name in names:
        place = f"{where}.{name}" if where else name
        if name in values:
            changed |= _store(cfg, place, values[name], checked(values[name], hints[name], place))
    return changed


def _check_added(cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Refuse keys that a command adds with ``+`` to the root, where no setting refers to them."""
    known = [field.name for field in fields(RootSettings)] + groups() + ["system"]
    text = ""
    for override in overrides:
        name = override.lstrip("+").partition("=")[0]
        if not override.startswith("+") or "." in name or name in known or name not in cfg:
            continue
        text = text or str(OmegaConf.to_container(cfg, resolve=False))
        if f"${{{name}" not in text:
            raise unknown_setting("", name, known)


def _resolved(cfg: DictConfig) -> dict[str, Any]:
    """Return the resolved values.

    Raises:
        InputError: an interpolation cannot be resolved.
    """
    try:
        return plain(cfg)
    except (OmegaConfBaseException, RecursionError, ValueError, TypeError):
        _check_literals(cfg)
        # Names of jobs and directories are made from others, and would be blamed for them.
        for place, text in sorted(_interpolations(cfg, ""), key=lambda found: "${convlens." in found[1]):
            _check_interpolation(cfg, place, text)
        raise


def _check_literals(cfg: DictConfig) -> None:
    """Check the declared settings that refer to no others, whose mistakes would be told of what refers to them."""
    unresolved: Any = OmegaConf.to_container(cfg)
    for where, declared in (("", RootSettings), ("recipe.", RecipeSettings), ("model.", ModelSettings)):
        values = unresolved.get(where.rstrip(".")) if where else unresolved
        for name, hint in get_type_hints(declared, include_extras=True).items():
            if isinstance(values, Mapping) and name in values and "${" not in str(values[name]):
                checked(values[name], hint, f"{where}{name}")


def _check_interpolation(cfg: DictConfig, place: str, text: str) -> None:
    try:
        OmegaConf.select(cfg, place, throw_on_missing=False)
    except (OmegaConfBaseException, RecursionError, ValueError, TypeError) as error:
        cause = "it refers to itself" if _is_circular(error) else one_line(error)
        raise InputError(f"{place}={text}: {cause}") from None


def _is_circular(error: BaseException) -> bool:
    return isinstance(error, RecursionError) or (
        isinstance(error, InterpolationResolutionError) and "ecursi" in str(error)
    )


def _interpolations(node: Any, where: str) -> Iterator[tuple[str, str]]:
    """Return the dotted places of all interpolations, with their text."""
    if not OmegaConf.is_config(node):
        return
    for key in map(str, node) if isinstance(node, DictConfig) else range(len(node)):
        place = f"{where}.{key}" if where else str(key)
        if OmegaConf.is_interpolation(node, key):
            yield place, str(OmegaConf.to_container(node, resolve=False)[key])  # type: ignore[index]
        elif not OmegaConf.is_missing(node, key):
            yield from _interpolations(node[key], place)


def _check_directory(cfg: DictConfig) -> None:
    """Check that the directory can be written to without touching what convlens has not made."""
    if not str(cfg.run_dir).strip():
        raise InputError("run_dir is empty: give a directory")
    path = Path(cfg.run_dir)
    for folder in (path, *path.parents):
        if folder.exists() and not folder.is_dir():
            name = "run_dir" if cfg.run is None else "run"
            raise InputError(f"{name}={path}: {folder} is a file: give a directory")
    if not (entry := foreign_entry(path)):
        return
    if cfg.run is None:
        raise InputError(
            f"run_dir={path}: the directory holds {entry} and no run of convlens: give a new or an empty directory"
        )
    if not (str(cfg.task.get("_target_")) == REPORT and holds_runs(path)):  # of a sweep, whose folder is no run
        raise InputError(f"run={path}: the directory holds {entry} and no run of convlens: give the directory of a run")


def _store(cfg: DictConfig, place: str, before: object, value: object) -> bool:
    """Put a converted value into the configuration; return whether it differs from the value before."""
    same = value == before or (value != value and before != before)  # NaN
    changed = not same or isinstance(value, bool) != isinstance(before, bool)
    if changed:  # else it keeps its interpolation
        OmegaConf.update(cfg, place, value, force_add=True)
    return changed
