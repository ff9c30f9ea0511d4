"""Messages of one line for commands that cannot be composed: what is wrong, where, and what would be right."""

import difflib
import re
from collections.abc import Iterable, Sequence

from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError, ConfigKeyError

from convlens.runs.conf_files import task_settings
from convlens.runs.renames import OLD_OPTIONS, renamed_key

PLUGINS = ("joblib", "submitit", "ray", "optuna")
"""Launchers and sweepers that are installed as extras of the same names."""
NO_OPTION = "Config group override must be a string"
"""The beginning of Hydra's ValueError for a group that is set to a number or to null."""
ABSENT = r"Could not delete from config\. '(.+)' does not exist"
"""Hydra's error for a key that is to be removed and is not there."""
MERGED = r"Error merging override (.+)\s+Cannot merge"
"""The beginning of Hydra's error for a list in place of settings by name, with the override."""


def explain(error: BaseException, overrides: Sequence[str], groups: Iterable[str]) -> str:
    """Return one line for an error of Hydra or OmegaConf.

    Args:
        error: as raised while composing.
        overrides: of the command.
        groups: names of the configuration's groups.
    """
    if isinstance(error, OverrideParseException):
        return (
            f"cannot read {error.override!r}: write key=value, such as task=train; "
            "values with special characters go in quotes, such as 'run=\"a (b)\"'"
        )
    if isinstance(error, MissingConfigException):
        return _unknown_option(error)
    if str(error).startswith(NO_OPTION):
        chosen = [o for o in overrides if o.partition("=")[0] in {*groups, "", "hydra"}]
        typed = next((o for o in chosen if re.fullmatch(r".*=(null|true|false|[0-9.]*)", o)), "the command")
        return f"{typed}: give the name of an option, such as task=train"
    if (absent := re.search(ABSENT, str(error))) and (renamed := _renamed(absent[1])):
        return renamed
    if merged := re.match(MERGED, one_line(error)):
        return f"{merged[1]}: a list cannot take the place of settings by name, nor these that of a list: see --cfg job"
    for cause in (error, error.__cause__):
        if isinstance(cause, ConfigAttributeError | ConfigKeyError) and isinstance(cause.parent_node, DictConfig):
            return _unknown_key(cause, cause.parent_node, overrides, groups)
    missing = re.search(r"No module named '(\w+)'", f"{error} {error.__cause__}")
    plugin = next((plugin for plugin in PLUGINS if plugin in f"{error}"), "")
    if missing and plugin:
        return f"hydra's {plugin} lacks {missing[1]}: pip install 'convlens[{plugin}]'"
    return one_line(error)


def one_line(error: BaseException) -> str:
    """Return the message of an error and of its cause in one line."""
    lines = [line.strip() for text in (error, error.__cause__) if text for line in str(text).splitlines()]
    told = [line for line in lines if line and not line.startswith(("See http", "object_type", "full_key"))]
    return " ".join(told) or type(error).__name__


def unstarted(error: Exception, overrides: Sequence[str]) -> str:
    """Return one line for a launcher that could not start any job."""
    typed = next((o for o in overrides if o.startswith("hydra/launcher=")), "hydra/launcher=basic")
    extra = typed.partition("=")[2].partition("_")[0]
    missing = isinstance(error, ImportError) and extra in PLUGINS
    remedy = f"pip install 'convlens[{extra}]'" if missing else "choose another launcher, or start it where it can work"
    return f"{typed} cannot start ({one_line(error)}): {remedy}"


def _unknown_option(error: MissingConfigException) -> str:
    """Return one line for an option that a group does not have."""
    group, _, choice = str(error.missing_cfg_file).removesuffix(".yaml").rpartition("/")
    extra = choice.partition("_")[0]
    if group in ("hydra/launcher", "hydra/sweeper") and extra in PLUGINS:
        return f"{group}={choice} is not installed: pip install 'convlens[{extra}]'"
    if new := OLD_OPTIONS.get((group, choice)):
        return f"{group}={choice} is called {group}={new} since version 0.2"
    near = torchvision_model(choice) if group == "model" else ""
    guess = f"did you mean model=torchvision model.net.name={near}? " if near else ""
    return f"{group}={choice} is unknown: {guess}{offer(choice, error.options or [], guess=not near)}"


def torchvision_model(name: str) -> str:
    """Return torchvision's network of the nearest name; empty if there is none."""
    from torchvision.models import list_models  # large, and only needed for a mistake

    return next(iter(difflib.get_close_matches(name, list_models(), 1, 0.75)), "")


def _unknown_key(
    error: ConfigAttributeError | ConfigKeyError, parent: DictConfig, overrides: Sequence[str], groups: Iterable[str]
) -> str:
    """Return one line for a key that is not in the configuration."""
    full = str(error.full_key)
    where, _, key = full.rpartition(".")
    names = [str(k) for k in parent if k != "hydra" and not str(k).startswith("_")]
    names = names if where else sorted({*names, *groups})
    if renamed := renamed_key(full, names) or _renamed(full):
        return renamed
    typed = next((o for o in overrides if f"{o.partition('=')[0]}.".startswith(f"{full}.")), f"{full}=...")
    if where == "task" and (others := [task for task, own in task_settings().items() if key in own]):
        return f"{typed}: the task has no {key}: choose one that has it, {_tasks(others)}"
    return f"{typed}: there is no {key} in {where or 'the configuration'}: {offer(key, names)}"


def _renamed(key: str) -> str:
    """Return one line for an old key of this or another task; empty if it is none."""
    if not key.startswith("task."):
        return renamed_key(key, None) or ""
    lines: dict[str, list[str]] = {}
    for task, names in task_settings().items():
        if line := renamed_key(key, names):
            lines.setdefault(line, []).append(task)
    return "; ".join(f"{line}: choose a task that has it, {_tasks(tasks)}" for line, tasks in lines.items())


def _tasks(names: Iterable[str]) -> str:
    return " or ".join(f"task={name}" for name in names)


def offer(name: str, names: Sequence[str], *, guess: bool = True) -> str:
    """Return the nearest names as a question, then all names."""
    near = " or ".join(difflib.get_close_matches(name, names, 2)) if guess else ""
    return (f"did you mean {near}? " if near else "") + f"there is {', '.join(names) or 'nothing to set'}"
