import inspect
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import get_class
from omegaconf import OmegaConf

from convlens.runs.compose import register_resolvers

CONF = Path(__file__).resolve().parents[2] / "conf"
NAMES = sorted(path.stem for path in (CONF / "data").glob("*.yaml") if path.stem != "base")

GIVEN = {"shards": ["data.root=/d/shards"]}  # what has no value of its own


def composed(name: str) -> dict[str, Any]:
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(
            "config", [f"data={name}", *GIVEN.get(name, []), "seed=3", "data_dir=/d", "cache_dir=/c", "recipe=paper"]
        )
    return OmegaConf.to_container(config.data, resolve=True)


@pytest.mark.parametrize("name", NAMES)
def test_keys_are_those_of_the_constructors(name):
    data = composed(name)
    assert data["seed"] == 3
    if "source" in data:
        assert data["cache_dir"] == "/c"
        assert data["source"].get("root", "/d/").startswith("/d/")
    for node in [data["source"], data] if "source" in data else [data]:
        target = get_class(node.pop("_target_"))
        inspect.signature(target).bind(**node)


@pytest.mark.parametrize("name", NAMES)
def test_values_are_the_constructors_own_defaults(name):
    data = composed(name)
    given_here = {"seed", "cache_dir", "source", "root", "image_size"}
    given_here.add("max_train_per_class")  # of the whole data set; the constructor also takes parts of it, and old runs
    for node in [data["source"], data] if "source" in data else [data]:
        parameters = inspect.signature(get_class(node.pop("_target_"))).parameters
        for key in node.keys() - given_here:
            if parameters[key].default is not inspect.Parameter.empty:
                assert node[key] == parameters[key].default, key
