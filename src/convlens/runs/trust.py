"""The constructors that the configuration of somebody else's run may name: a run is data, not code."""

import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from omegaconf import DictConfig
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from convlens import callbacks, data, loggers, nets, systems
from convlens.data import Source
from convlens.errors import InputError
from convlens.io.inside import unfit_files
from convlens.runs.authorship import is_own
from convlens.runs.constructors import imported
from convlens.runs.record_file import read_record
from convlens.runs.run_config import require_config, resolved

TOP_PACKAGES = ("convlens", "torch", "torchvision", "timm")
CLASS_PACKAGES = ("convlens", "torch.nn", "torch.optim", "torchvision.models", "timm")
BASES = (nn.Module, Optimizer, LRScheduler, Source)
FACTORIES = {
    "torchvision.models.get_model": ("name", "weights", "num_classes", "init_weights", "aux_logits", "progress"),
    "timm.create_model": ("model_name", "pretrained", "num_classes", "in_chans", "drop_rate", "global_pool"),
}
"""Functions that build a network by its name, and the arguments that load no file."""
SECTIONS = ("model", "data")
"""Parts of a run's configuration from which objects are made."""


def trusted_config(run_dir: Path, trust: bool | Sequence[str], cache_dir: str | None = None) -> DictConfig:
    """Return the configuration of a run after checking that it names nothing but known constructors.

    Of somebody else's, no value is computed: those that are checked are those that are used. Nothing is downloaded into
    a folder that it names.

    Args:
        run_dir: the run.
        trust: packages that it may name besides, or whether it may name anything.
        cache_dir: the user's folder for decoded images, in place of that in somebody else's run; None if no image is
            read.

    Raises:
        InputError: the directory has no configuration, or a link leads out of it, or it is not this user's own and
            names another constructor.
    """
    if trust is not True and (reason := next(unfit_files(run_dir), None)):
        raise InputError(f"{reason}: if you made it, or trust the run, give trust=true")
    values = require_config(run_dir, edited=trust is True)
    where = run_dir / "config.yaml"
    data = _require_node(values.get("data"), "data", where)
    if "model" in values:
        model = values["model"]
        _require_node(model.get("net") if isinstance(model, dict) else None, "model.net", where)
    if trust is True or _is_users(run_dir):
        return resolved(values, run_dir)
    packages = () if trust is False else tuple(trust)
    before = list(sys.path)
    # The working directory may be somebody else's, too: no library is imported from there in the rest of the job.
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != Path.cwd()]
    for place in _interpolations(values, ""):
        raise InputError(f"{where}: {place} is no plain value: if you trust the run, give trust=true")
    for section in SECTIONS:
        for place, node in _nodes(values.get(section), section):
            target = str(node["_target_"])
            if _is_below(target, packages) or _is_known(target, node):
                continue
            raise InputError(
                f"{where}: {place}._target_={target} is no constructor that somebody else's run may name: if you trust "
                f"it, give trust=[{target.partition('.')[0]}] or trust=true"
            )
    own = {"download": False, "cache_dir": cache_dir or data.get("cache_dir")}
    values["data"] = data | {name: value for name, value in own.items() if data.get(name) is not None}
    if packages:  # which may lie there
        sys.path += [entry for entry in before if entry not in sys.path]
    return resolved(values, run_dir)


def _is_users(run_dir: Path) -> bool:
    return is_own((run_dir / "config.yaml").read_bytes(), read_record(run_dir).get("author"))


def _require_node(node: object, place: str, where: Path) -> dict[str, object]:
    """Return a node after checking that it has a ``_target_``.

    Raises:
        InputError: it has none.
    """
    if not (isinstance(node, dict) and isinstance(node.get("_target_"), str)):
        raise InputError(f"{where}: {place} has no _target_: give the directory of a training run")
    return node


def _interpolations(value: object, place: str) -> Iterator[str]:
    """Yield the places of texts that stand for other values: what makes objects would compute them again."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _interpolations(inner, f"{place}.{name}" if place else str(name))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _interpolations(inner, f"{place}[{number}]")
    elif isinstance(value, str) and ("${" in value or value == "???"):
        yield place


def _nodes(value: object, place: str) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Yield the nodes with a ``_target_`` at any depth, with their places."""
    if isinstance(value, Mapping):
        if "_target_" in value:
            yield place, value
        for name, inner in value.items():
            yield from _nodes(inner, f"{place}.{name}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _nodes(inner, f"{place}[{number}]")


def _is_below(name: str, packages: Sequence[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def _is_known(target: str, node: Mapping[str, object]) -> bool:
    """Return whether the object that a target names is a known constructor, by whatever name."""
    if target.partition(".")[0] not in TOP_PACKAGES:
        return False  # not even imported
    try:
        found = imported(target, "")
    except InputError:
        return False
    for name, arguments in FACTORIES.items():
        if target.partition(".")[0] == name.partition(".")[0] and found is imported(name, ""):
            given = {key: value for key, value in node.items() if not str(key).startswith("_")}
            return "_args_" not in node and all(_is_harmless(key, given[key], arguments) for key in given)
    if inspect.isclass(found):
        return _is_below(found.__module__, CLASS_PACKAGES) and (issubclass(found, BASES) or _is_exported(found))
    return any(found is getattr(nets, name) for name in nets.__all__)


def _is_harmless(key: str, value: object, arguments: Sequence[str]) -> bool:
    """Return whether an argument of a factory is plain and names no file or repository."""
    plain_value = value is None or isinstance(value, bool | int | float | str)
    return key in arguments and plain_value and not any(sign in str(value) for sign in ":/\\")


def _is_exported(found: type) -> bool:
    """Return whether a class is a public one of the packages whose objects a configuration describes."""
    packages = (nets, data, systems, callbacks, loggers)
    return any(found is getattr(package, name) for package in packages for name in getattr(package, "__all__", ()))
