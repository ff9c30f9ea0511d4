"""The tests' shared compositions against Hydra's own."""

from unittest import mock

import hydra
import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.errors import HydraException
from omegaconf import OmegaConf

from convlens.runs.compose import register_resolvers
from convlens.runs.conf_files import conf_dir
from tests.composition_cache import ORIGINAL

COMMANDS = (
    (),
    ("seed=1", "model=alexnet", "model.net.width=0.5"),
    ("model.net.width=0.5", "model=alexnet", "seed=1"),
    ("task=occlude", "run=DIR", "task.layer=null", "task.size=[1,2]", "run_dir='a b'"),
    ("model=torchvision", "~model.net.name", "model.net._target_=mine.build", "+model.net.depth=3"),
    ("experiment=ablation", "recipe.max_epochs=2", "logger=[csv,wandb]", "hydra.job.chdir=true"),
    ("data=caltech101", "data.source.root=${oc.env:HOME}", "seed=2"),
    ("nonsense=1",),
    ("model=nonsense", "seed=1"),
    ("task.nonsense=1", "seed=1"),
    ("seed=[1",),
)


def outcome(overrides: tuple[str, ...]) -> object:
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        try:
            cfg = hydra.compose("config", list(overrides), return_hydra_config=True)
        except HydraException as error:
            return type(error), str(error).splitlines()[0]
        return OmegaConf.to_yaml(cfg)


@pytest.mark.parametrize("overrides", COMMANDS)
def test_a_shared_composition_is_hydras_own(overrides):
    register_resolvers()
    shared = [outcome(overrides) for _ in range(2)]
    with mock.patch.object(ConfigLoaderImpl, "_load_configuration_impl", ORIGINAL):
        assert shared == [outcome(overrides)] * 2
