"""Compositions that tests share: a command composes its configuration two to four times, a quarter of a second each."""

import contextlib
import os
from collections.abc import Callable, Iterator
from unittest import mock

from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

ORIGINAL: Callable[..., DictConfig] = ConfigLoaderImpl._load_configuration_impl


@contextlib.contextmanager
def cached_composition() -> Iterator[None]:
    """Let Hydra copy what it composed before with the same choices, and set the values of this command in the copy."""
    composed: dict[str, DictConfig] = {}

    def compose(
        loader: ConfigLoaderImpl, config_name: str, overrides: list[str], *args: object, **kwargs: object
    ) -> DictConfig:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
        apart = not any(is_special(override) for override in parsed)
        values = [override for override in parsed if apart and is_value(loader, override)]
        choices = [override.input_line for override in parsed if override not in values]
        folders = [source.path for source in loader.repository.get_sources()]
        key = str((config_name, choices, folders, args, sorted(kwargs.items())))
        if key not in composed:
            composed[key] = ORIGINAL(loader, config_name, choices, *args, **kwargs)
        found = composed[key].copy()
        found.hydra.runtime.cwd = os.getcwd()
        if values:
            ConfigLoaderImpl._apply_overrides_to_config(values, found)
            of_job = [override for override in parsed if not override.is_hydra_override()]
            found.hydra.overrides.task = [override.input_line for override in of_job]
            words = found.hydra.job.config.override_dirname
            found.hydra.job.override_dirname = get_overrides_dirname(
                of_job, list(words.exclude_keys), words.item_sep, words.kv_sep
            )
        return found

    with mock.patch.object(ConfigLoaderImpl, "_load_configuration_impl", compose):
        yield


def is_value(loader: ConfigLoaderImpl, override: Override) -> bool:
    """Whether an override is `key=value`, which changes nothing but that value."""
    return not override.is_hydra_override() and not loader.repository.group_exists(override.key_or_group)


def is_special(override: Override) -> bool:
    """Whether the order among the overrides matters."""
    changes = override.is_add() or override.is_force_add() or override.is_delete()
    return changes or override.is_sweep_override() or override.package is not None
