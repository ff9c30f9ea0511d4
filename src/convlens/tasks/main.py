"""The command line: ``convlens task=... model=... data=...``, composed and swept by Hydra.

Nothing heavy is imported before a task starts, so that ``--help`` and ``--cfg job`` are quick.
"""

import logging
import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from convlens.errors import InputError
from convlens.tasks.naming import job_name, run_dir

log = logging.getLogger(__name__)


def conf_dir() -> Path:
    """The configuration: inside the installed package, or beside ``src`` in a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "conf"
    return installed if installed.exists() else package.parents[1] / "conf"


def register_resolvers() -> None:
    """Names that the configuration uses."""
    OmegaConf.register_new_resolver("convlens.job_name", job_name, replace=True)
    OmegaConf.register_new_resolver("convlens.run_dir", run_dir, replace=True)


def _job(cfg: DictConfig) -> None:
    from convlens.tasks.dispatch import dispatch

    hydra_cfg = HydraConfig.get()
    single = hydra_cfg.mode == RunMode.RUN
    try:
        code = dispatch(cfg, list(hydra_cfg.overrides.task))
    except InputError as error:
        print(f"convlens: {error}", file=sys.stderr)
        if single:
            raise SystemExit(2) from None
        raise
    if code and single:
        raise SystemExit(code)
    if code:
        raise RuntimeError(f"{hydra_cfg.job.name} ended with code {code}")


def main() -> None:
    """Entry point of the console script; exit code 2 for what the user can mend, 1 for what failed."""
    register_resolvers()
    started = False

    def job(cfg: DictConfig) -> None:
        nonlocal started
        started = True
        _job(cfg)

    try:
        hydra.main(config_path=str(conf_dir()), config_name="config", version_base="1.3")(job)()
    except SystemExit as stop:
        # Hydra ends with 1 when the configuration cannot be composed: the user's mistake.
        if stop.code == 1 and not started:
            raise SystemExit(2) from None
        raise


if __name__ == "__main__":
    main()
