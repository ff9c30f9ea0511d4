"""What was wrong with a command that cannot be composed, in one line."""

import difflib
import re
from collections.abc import Iterable, Sequence

from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError, ConfigKeyError

# Launchers and sweepers that come as extras of the same names.
PLUGINS = ("joblib", "submitit", "ray", "optuna")


def explain(error: BaseException, overrides: Sequence[str], groups: Iterable[str]) -> str:
    """One line for an error of Hydra's or OmegaConf's: what, where, and what would be right.

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
        group, _, choice = str(error.missing_cfg_file).removesuffix(".yaml").rpartition("/")
        extra = choice.partition("_")[0]
        if group in ("hydra/launcher", "hydra/sweeper") and extra in PLUGINS:
            return f"{group}={choice} is not installed: pip install 'convlens[{extra}]'"
        return f"{group}={choice} is unknown: {offer(choice, error.options or [])}"
    for cause in (error, error.__cause__):
        if isinstance(cause, ConfigAttributeError | ConfigKeyError) and isinstance(cause.parent_node, DictConfig):
            return _unknown_key(cause, cause.parent_node, overrides, groups)
    missing = re.search(r"No module named '(\w+)'", f"{error} {error.__cause__}")
    plugin = next((plugin for plugin in PLUGINS if plugin in f"{error}"), "")
    if missing and plugin:
        return f"hydra's {plugin} lacks {missing[1]}: pip install 'convlens[{plugin}]'"
    lines = [line.strip() for text in (error, error.__cause__) if text for line in str(text).splitlines()]
    said = " ".join(line for line in lines if line and not line.startswith(("See http", "object_type")))
    return said or type(error).__name__


def unstarted(error: Exception, overrides: Sequence[str]) -> str:
    """One line for a launcher that could not begin any job."""
    typed = next((o for o in overrides if o.startswith("hydra/launcher=")), "hydra/launcher=basic")
    extra = typed.partition("=")[2].partition("_")[0]
    missing = isinstance(error, ImportError) and extra in PLUGINS
    remedy = f"pip install 'convlens[{extra}]'" if missing else "choose another launcher, or start it where it can work"
    return f"{typed} cannot start ({str(error).splitlines()[0]}): {remedy}"


def _unknown_key(
    error: ConfigAttributeError | ConfigKeyError, parent: DictConfig, overrides: Sequence[str], groups: Iterable[str]
) -> str:
    full = str(error.full_key)
    where, _, key = full.rpartition(".")
    there = [str(k) for k in parent if k != "hydra" and not str(k).startswith("_")]
    there = there if where else sorted({*there, *groups})
    typed = next((o for o in overrides if f"{o.partition('=')[0]}.".startswith(f"{full}.")), f"{full}=...")
    return f"{typed}: there is no {key} in {where or 'the configuration'}: {offer(key, there)}"


def offer(name: str, there: Sequence[str]) -> str:
    """Near names first, then all there are."""
    near = " or ".join(difflib.get_close_matches(name, there, 2))
    return (f"did you mean {near}? " if near else "") + f"there is {', '.join(there) or 'nothing to set'}"
