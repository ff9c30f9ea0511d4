import copy
import functools
import inspect
import itertools
from collections.abc import Iterator
from typing import Any, get_type_hints

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

import convlens
from convlens.nets import ConvNet
from convlens.runs.compose import register_resolvers
from convlens.runs.conf_files import conf_dir
from convlens.runs.subject import build_net, instantiate
from convlens.runs.typed_settings import from_settings

CONF = conf_dir()
GROUPS = sorted(path.name for path in CONF.iterdir() if path.is_dir() and path.name != "hydra")
OPTIONS = [(group, path.stem) for group in GROUPS for path in sorted((CONF / group).glob("*.yaml"))]
# What the code gives to a target besides the values of its node.
GIVEN_BY_CODE = {
    "convlens.systems.Classifier": {"net", "backbone"},
    "lightning.Trainer": {"callbacks", "logger", "default_root_dir"},
    "torch.optim.AdamW": {"params"},
    "torch.optim.SGD": {"params"},
    "torch.optim.lr_scheduler.OneCycleLR": {"optimizer", "total_steps"},
    "torch.optim.lr_scheduler.ReduceLROnPlateau": {"optimizer"},
}


@functools.cache
def composed(*overrides: str) -> DictConfig:
    """The configuration of a command as a job sees it, with what Hydra tells the job about itself."""
    register_resolvers()
    before = HydraConfig.instance().cfg
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", list(overrides), return_hydra_config=True)
    HydraConfig.instance().set_config(config)
    try:
        values = OmegaConf.to_container(
            OmegaConf.masked_copy(config, [k for k in config if k != "hydra"]), resolve=True
        )
    finally:
        HydraConfig.instance().cfg = before
    return OmegaConf.create(values)


def nodes(value: Any, where: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """All nodes that name a target, with their place in the configuration."""
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from nodes(item, f"{where}.{key}".lstrip("."))
    if isinstance(value, dict) and "_target_" in value:
        yield where, value


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_composes_and_its_targets_take_its_keys(group, option):
    if option == "first_layer_search":
        pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")  # of the extra that `make test-all` installs
    config = OmegaConf.to_container(composed(f"{group}={option}"))
    if option == "base":  # what all data sets share; it names no source and is not chosen alone
        config["data"]["source"] = None
    found = dict(nodes(config))
    assert {"data", "system", "trainer", "task", "model.net"} <= found.keys()
    for where, node in found.items():
        target = node["_target_"]
        values = {key: value for key, value in node.items() if not key.startswith("_")}
        if where == "task":
            declared = get_type_hints(get_object(target))["settings"]
            assert type(from_settings(declared, values, "task")) is declared
            continue
        taken = GIVEN_BY_CODE.get(target, set())
        assert not taken & values.keys(), f"{where}: the code gives {taken & values.keys()}"
        signature = inspect.signature(get_object(target))
        if target == "torchvision.models.get_model":  # passes any keyword on to the network it is asked for
            assert set(values) == {"name"}
        # Everything is given, so that a parameter without a value in conf/ and without a default shows as well.
        signature.bind(**values, **dict.fromkeys(taken))


def test_a_misspelt_key_would_not_bind():
    node = composed("recipe=paper").recipe.optimizer
    with pytest.raises(TypeError, match="weight_decya"):
        inspect.signature(get_object(node["_target_"])).bind_partial(weight_decya=0)


@pytest.mark.parametrize(("group", "option"), [(g, o) for g, o in OPTIONS if g in ("callbacks", "logger", "trainer")])
def test_whatever_goes_into_the_trainer_can_be_made(group, option, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    if option == "tensorboard":
        pytest.importorskip("tensorboard")
    config = composed(f"{group}={option}", f"run_dir={tmp_path}/run")
    for node in [config.trainer] if group == "trainer" else config[group].values():
        assert type(instantiate(node)) is get_object(node["_target_"])


def test_projections_go_down_by_the_librarys_own_defaults():
    parameters = inspect.signature(convlens.project).parameters
    rules = composed("task=project").task.rules
    assert set(rules) == {"rule", "signal", "unpool", "lrn"}
    assert all(parameters[name].default == value for name, value in rules.items())


# ---- ablations: the rows of Table 3 -----------------------------------------------------------------------------

WIDTH = 0.1
CONV = {"conv1": 96, "conv2": 256, "conv3": 384, "conv4": 384, "conv5": 256}
FULL = {**CONV, "fc6": 4096, "fc7": 4096}
WIDE = {"conv3": 512, "conv4": 1024, "conv5": 512}
TABLE_3 = {
    "none": FULL,
    "no_layers_3_4": {k: v for k, v in FULL.items() if k not in ("conv3", "conv4")},
    "no_layer_7": {k: v for k, v in FULL.items() if k != "fc7"},
    "no_layers_6_7": CONV,
    "no_layers_3_4_6_7": {k: CONV[k] for k in ("conv1", "conv2", "conv5")},
    "fc_2048": {**CONV, "fc6": 2048, "fc7": 2048},
    "fc_8192": {**CONV, "fc6": 8192, "fc7": 8192},
    "wide": {**FULL, **WIDE},
    "wide_fc_8192": {**CONV, **WIDE, "fc6": 8192, "fc7": 8192},
}
# Maps of each network that differ from those of `FULL`; an ablation's edits are merged into them.
OWN_MAPS = {"alexnet": {}, "zfnet": {}, "zfnet_wide": WIDE}
# Values that reach the classifier at 64 px: all networks have 1 x 1 places left there.
PLACES = 1


def ablated(model: str, ablation: str, num_classes: int, **settings: Any) -> ConvNet:
    choice = [] if model == "zfnet" else [f"model={model}"]  # the others are composed already, in another test
    config = copy.deepcopy(composed(f"ablation={ablation}", *choice))
    config.model.net.update(settings)
    return build_net(config, num_classes)


def in_eighths(maps: int, width: float) -> int:
    return 8 * max(1, round(maps * width / 8))


def test_there_is_an_ablation_for_each_row_of_table_3():
    assert set(TABLE_3) == {option for group, option in OPTIONS if group == "ablation"}


@pytest.mark.parametrize("model", OWN_MAPS)
@pytest.mark.parametrize("ablation", TABLE_3)
def test_an_ablation_is_the_papers_edit_of_the_table(model, ablation):
    net = ablated(model, ablation, 7, width=WIDTH, input_size=64)
    full = {name: OWN_MAPS[model].get(name, maps) for name, maps in TABLE_3[ablation].items()}
    expected = {name: in_eighths(maps, WIDTH) for name, maps in full.items()}
    assert {row.name: row.maps for row in net.table} == expected
    weights = {name: net.get_submodule(name).filter.weight for name in expected}
    assert {name: len(weight) for name, weight in weights.items()} == expected
    below = list(expected)
    for lower, upper in itertools.pairwise(below):  # each layer reads the one that is now below it
        groups = net.get_submodule(upper).filter.groups if upper.startswith("conv") else 1
        assert weights[upper].shape[1] * groups == expected[lower] * PLACES
    assert net.fc8.weight.shape == (7, expected[below[-1]] * PLACES)


@pytest.mark.parametrize(
    ("model", "ablation", "millions"),
    # Computed from the layers' sizes by hand, groups of 2 in AlexNet's layers 2, 4, 5, and 1000 classes.
    [
        ("alexnet", "none", 60.97),
        ("alexnet", "no_layers_6_7", 11.55),
        ("alexnet", "no_layers_3_4_6_7", 9.85),
        ("zfnet", "none", 62.36),
        ("zfnet", "fc_2048", 28.85),
        ("zfnet_wide", "none", 107.63),
        # From zfnet_wide: fc6 reads 36 * 512 values; 4096 units become 2048, or 8192.
        ("zfnet_wide", "fc_2048", 107.63 + (18432 * -2048 + 2048**2 - 4096**2 - 2048 * 1000 - 2 * 2048) / 1e6),
        ("zfnet_wide", "fc_8192", 107.63 + (18432 * 4096 + 8192**2 - 4096**2 + 4096 * 1000 + 2 * 4096) / 1e6),
    ],
)
def test_full_size_ablations_have_the_parameters_of_table_3(model, ablation, millions):
    with torch.device("meta"):
        net = ablated(model, ablation, 1000, input_size=224)
    assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(millions, abs=0.006)


# ---- the parts of the configuration that hang together ---------------------------------------------------------


def test_the_networks_input_size_and_initialisation_come_from_data_and_recipe():
    config = composed("data.image_size=96", "recipe=paper", "recipe.dropout=0.25", "seed=4")
    assert (config.model.net.input_size, config.model.net.init, config.model.net.dropout) == (96, "gaussian", 0.25)
    assert (config.system.max_filter_rms, config.system.seed, config.data.seed) == (0.1, 4, 4)
    assert config.data.std == config.recipe.input_std == 1.0
    assert config.trainer.max_epochs == config.recipe.max_epochs == 70


def test_the_paper_recipe_is_the_papers():
    recipe = composed("recipe=paper").recipe
    optimizer = recipe.optimizer
    assert (optimizer["_target_"], optimizer.lr, optimizer.momentum) == ("torch.optim.SGD", 0.01, 0.9)
    assert (recipe.batch_size, recipe.max_epochs, recipe.dropout, recipe.max_filter_rms) == (128, 70, 0.5, 0.1)


def test_the_smoke_experiment_is_a_small_study_in_a_directory_of_its_own():
    config = composed("experiment=smoke", "output_root=some/where")
    assert config.task["_target_"] == "convlens.tasks.study.run"
    assert config.run_dir == "some/where/smoke"
    assert (config.data.source.train, config.model.net.width, config.recipe.max_epochs) == (160, 0.1, 2)
    assert config.callbacks.projections.epochs is None  # what it does not name is as it was
    assert config.trainer.max_epochs == 2


def test_an_experiment_yields_to_what_is_typed():
    config = composed("experiment=smoke", "recipe.max_epochs=3", "model.net.width=0.2")
    assert (config.trainer.max_epochs, config.model.net.width) == (3, 0.2)


def test_a_study_has_parts_that_compose_each():
    task = composed("task=study").task
    for part in task.parts:
        places = {p.run: f"out/{p.run}" for p in task.parts}
        own = composed(*task.scale, *(o.format_map(places) for o in part.overrides))
        assert own.task["_target_"].startswith("convlens.tasks.")
