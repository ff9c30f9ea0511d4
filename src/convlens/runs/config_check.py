"""Check a composed configuration against declared types, and convert its values, before anything is written."""

import functools
import inspect
import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException

from convlens.errors import InputError
from convlens.runs.compose import groups
from convlens.runs.config_errors import one_line
from convlens.runs.root_settings import DeviceSettings, ModelSettings, RecipeSettings, RootSettings
from convlens.runs.type_conversion import MismatchError, convert_foreign, described, is_node, shown
from convlens.runs.typed_settings import checked, unknown_setting

HYDRA_KEYS = ("_target_", "_partial_", "_args_", "_recursive_", "_convert_")


def check_root(cfg: DictConfig, overrides: Sequence[str] = ()) -> None:
    """Check what needs no import: interpolations, the settings of every command, recipe, model and devices.

    Values are converted in place, such as ``no`` to false.

    Raises:
        InputError: an interpolation cannot be resolved, a setting is unknown or of another type, or ``run_dir`` is a
            file.
    """
    _check_interpolations(cfg)
    _check_added(cfg, overrides)
    _check_section(cfg, "", RootSettings, closed=False)
    _check_section(cfg, "recipe", RecipeSettings)
    _check_section(cfg, "model", ModelSettings)
    _check_section(cfg, "trainer", DeviceSettings, closed=False)
    _check_directory(Path(cfg.run_dir))


def check_nodes(cfg: DictConfig) -> None:
    """Check every node with a ``_target_`` outside of ``task`` against the annotations of what it makes.

    Values are converted in place. Constructors are imported.

    Raises:
        InputError: a target cannot be imported, or a setting is unknown, missing or of another type.
    """
    for where in ("recipe.optimizer", "recipe.scheduler", "data", "model.net", "system"):
        check_node(cfg, where)
    for section in ("callbacks", "logger"):
        for name in cfg.get(section) or ():
            check_node(cfg, f"{section}.{name}")
    check_node(cfg, "trainer")


def check_node(cfg: DictConfig, where: str) -> None:
    """Check one node and the nodes in it; ``where`` is its dotted place in the configuration.

    Raises:
        InputError: as `check_nodes`.
    """
    values = _plain(OmegaConf.select(cfg, where))
    if not isinstance(values, Mapping) or "_target_" not in values:
        return
    made = _constructor(str(values["_target_"]), where)
    for name, value in values.items():
        if name in HYDRA_KEYS:
            continue
        place = f"{where}.{name}"
        if not made.takes(name):
            raise unknown_setting(where, name, made.names)
        if is_node(value):
            check_node(cfg, place)
        elif value == "???":
            raise InputError(f"{place} is missing: give {described(made.hints.get(name, Any))}")
        else:
            _store(cfg, place, value, made.convert(value, made.hints.get(name, Any), place))


@dataclass(frozen=True)
class Constructor:
    """A class or function that a node names.

    Attributes:
        names: its keywords.
        hints: their annotations, as far as there are any.
        any_keyword: whether it takes further keywords.
        ours: whether it is of this package, so that its annotations are all that it takes.
    """

    names: Sequence[str]
    hints: Mapping[str, Any]
    any_keyword: bool
    ours: bool

    def takes(self, name: str) -> bool:
        """Return whether there is such a keyword."""
        return self.any_keyword or name in self.names

    def convert(self, value: object, declaration: Any, place: str) -> object:
        """Convert a value to its annotation.

        Raises:
            InputError: it cannot be converted.
        """
        if self.ours:
            return checked(value, declaration, place)
        try:
            return convert_foreign(value, declaration)
        except MismatchError:
            raise InputError(f"{place}={shown(value)}: give {described(declaration)}") from None


def imported(target: str, where: str) -> Any:
    """Import what a ``_target_`` names.

    Raises:
        InputError: it cannot be imported.
    """
    try:
        return pkgutil.resolve_name(target)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"{where}._target_={target} cannot be imported ({one_line(error)})") from None


@functools.cache
def _constructor(target: str, where: str) -> Constructor:
    made = imported(target, where)
    try:
        parameters = inspect.signature(made).parameters
    except (TypeError, ValueError):
        return Constructor((), {}, any_keyword=True, ours=False)
    kinds = {parameter.kind for parameter in parameters.values()}
    names = [name for name, one in parameters.items() if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
    function: Callable[..., object] = made.__init__ if inspect.isclass(made) else made
    try:
        hints = get_type_hints(function, include_extras=True)
    except (NameError, TypeError, AttributeError):
        hints = {}
    ours = str(getattr(made, "__module__", "")).partition(".")[0] == "convlens"
    return Constructor(names, hints, inspect.Parameter.VAR_KEYWORD in kinds, ours)


def _check_section(cfg: DictConfig, where: str, declared: type, *, closed: bool = True) -> None:
    """Check the settings of a section against a dataclass; an open section may have others too."""
    values = _plain(OmegaConf.select(cfg, where) if where else cfg)
    hints = get_type_hints(declared, include_extras=True)
    names = [field.name for field in fields(declared)]
    if not isinstance(values, Mapping):
        raise InputError(f"{where}={shown(values)}: give {described(declared)}")
    if closed and (unknown := [name for name in values if name not in names]):
        raise unknown_setting(where, str(unknown[0]), names)
    for name in names:
        place = f"{where}.{name}" if where else name
        if name in values:
            _store(cfg, place, values[name], checked(values[name], hints[name], place))


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


def _check_interpolations(cfg: DictConfig) -> None:
    for place, node in _interpolations(cfg, ""):
        try:
            OmegaConf.select(cfg, place, throw_on_missing=False)
        except (OmegaConfBaseException, RecursionError, ValueError, TypeError) as error:
            cause = "it refers to itself" if _is_circular(error) else one_line(error)
            raise InputError(f"{place}={node}: {cause}") from None


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


def _check_directory(path: Path) -> None:
    for folder in (path, *path.parents):
        if folder.exists() and not folder.is_dir():
            raise InputError(f"run_dir={path}: {folder} is a file: give a directory")


def _plain(value: Any) -> object:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _store(cfg: DictConfig, place: str, before: object, value: object) -> None:
    """Put a converted value into the configuration; one that was not changed keeps its interpolation."""
    if value != before or isinstance(value, bool) != isinstance(before, bool):
        OmegaConf.update(cfg, place, value, force_add=True)
