"""The configuration of a run directory: read it, also with keys of older versions, and compare it with a command's."""

import json
from collections.abc import Mapping
from pathlib import Path

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from convlens.errors import InputError
from convlens.io.hashing import short_sha256
from convlens.io.inside import unfit
from convlens.io.json_files import DEEPEST
from convlens.runs.damage import CONFIG, is_as_written
from convlens.runs.neutral_settings import is_neutral
from convlens.runs.renames import migrate


class _Loader(yaml.SafeLoader):
    """A loader that refuses aliases, by which a value may contain itself, or a short file fill the memory.

    It also refuses lists in lists without end, for which PyYAML takes minutes.
    """

    levels = 0

    def compose_node(self, parent: yaml.Node | None, index: object) -> yaml.Node | None:
        """Return the next node."""
        self.levels += 1
        if self.levels > DEEPEST or self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it has aliases or too many levels")
        node = super().compose_node(parent, index)  # type: ignore[arg-type]
        self.levels -= 1
        return node


def plain(cfg: DictConfig) -> dict[str, object]:
    """Return the resolved configuration as plain values."""
    return OmegaConf.to_container(cfg, resolve=True)  # type: ignore[return-value]


def flat(value: object, prefix: str = "") -> dict[str, object]:
    """Return nested values by dotted names, such as ``model.net.width``."""
    if not isinstance(value, dict):
        return {prefix: value}
    found: dict[str, object] = {}
    for key, item in value.items():
        found |= flat(item, f"{prefix}.{key}" if prefix else str(key))
    return found


def read_config(run_dir: Path, *, edited: bool = False) -> dict[str, object] | None:
    """Return the resolved configuration of a run with the present names of its keys; None if missing or damaged.

    Args:
        run_dir: the run.
        edited: whether it may be another one than the run wrote.
    """
    if not (edited or is_as_written(run_dir, CONFIG)):
        return None
    if unfit(run_dir / CONFIG, run_dir):
        return None
    try:
        config = yaml.load((run_dir / CONFIG).read_text(), _Loader)  # a safe one
        if not isinstance(config, dict):
            return None
        plain_text = json.dumps(config, default=str, ensure_ascii=False)
        plain_text.encode(errors="surrogateescape")  # it has names and texts that can be written again
    except (OSError, ValueError, TypeError, yaml.YAMLError):
        return None
    migrate(config)
    return config


def require_config(run_dir: Path, *, edited: bool = False) -> dict[str, object]:
    """Return the configuration of a run as `read_config` does.

    Raises:
        InputError: the directory has no configuration that can be read.
    """
    if not (edited or is_as_written(run_dir, CONFIG)):
        raise InputError(
            f"{run_dir / CONFIG} is not as the run wrote it (damaged or edited): give the command of the run again, "
            "which writes it anew, or trust=true to use it as it is"
        )
    config = read_config(run_dir, edited=edited)
    if config is None:
        reason = "config.yaml cannot be read" if (run_dir / "config.yaml").exists() else "no config.yaml"
        raise InputError(f"{run_dir} is not a run directory ({reason}): give the directory of a training run")
    return config


def resolved(config: Mapping[str, object], run_dir: Path) -> DictConfig:
    """Return the configuration of a run with its interpolations resolved, of which those that runs write have none.

    Raises:
        InputError: one cannot be resolved.
    """
    try:
        found = OmegaConf.create(dict(config))
        OmegaConf.resolve(found)
    except (OmegaConfBaseException, RecursionError) as error:
        raise InputError(f"{run_dir / CONFIG} cannot be resolved ({str(error).splitlines()[0]})") from None
    return found


def settings_of(config: Mapping[str, object]) -> dict[str, object]:
    """Return the settings of a resolved configuration that decide what a run computes, by dotted name.

    The task, neutral settings and settings that are null are left out. Paths below ``data_dir`` are given relative to
    it.

    Args:
        config: plain values, such as the content of a run's ``config.yaml``.
    """
    root = f"{config.get('data_dir')}/"
    return {
        key: f"${{data_dir}}/{value.removeprefix(root)}" if isinstance(value, str) and value.startswith(root) else value
        for key, value in flat(json.loads(json.dumps(config, default=str))).items()
        if value is not None and not is_neutral(key) and key.partition(".")[0] != "task"
    }


def settings_digest(config: Mapping[str, object]) -> str:
    """Return a digest of plain values that is equal for configurations of the same settings."""
    return short_sha256(json.dumps(settings_of(config), sort_keys=True), 16)


def first_difference(run_dir: Path, config: Mapping[str, object]) -> tuple[str, object, object] | None:
    """Return the first setting in which a run and a command differ: its name, the run's value, the command's."""
    recorded = read_config(run_dir)
    old, new = settings_of(recorded or {}), settings_of(config)
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) != new.get(key):
            return key, old.get(key), new.get(key)
    return None
