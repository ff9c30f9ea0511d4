"""Configurations of jobs for tests, composed in this process."""

import contextlib
from collections.abc import Iterator

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from convlens.cli.arguments import with_task
from convlens.errors import InputError
from convlens.runs.compose import register_resolvers
from convlens.runs.conf_files import conf_dir, groups
from convlens.runs.config_errors import explain


@contextlib.contextmanager
def job_config(*arguments: str) -> Iterator[tuple[DictConfig, list[str]]]:
    """The configuration of a job and its overrides, as `convlens` hands them to it, without a directory or a log."""
    overrides = with_task(arguments)
    register_resolvers()
    GlobalHydra.instance().clear()
    before = HydraConfig.instance().cfg
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        try:
            config = hydra.compose("config", overrides, return_hydra_config=True)
        except (HydraException, OmegaConfBaseException) as error:
            raise InputError(explain(error, overrides, groups())) from error
        job = config.copy()
        with read_write(job), open_dict(job):
            del job["hydra"]
            config.hydra.overrides.task = list(overrides)
        HydraConfig.instance().set_config(config)
        try:
            yield job, overrides
        finally:
            HydraConfig.instance().cfg = before
