import re
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from convlens.runs import naming
from convlens.runs.compose import register_resolvers
from convlens.runs.conf_files import conf_dir
from convlens.runs.naming import LONGEST, run_dir


def job_name(overrides: list[str]) -> str:
    """The name with the choices that the configuration has by default."""
    return naming.job_name(overrides, "zfnet", "parts")


def test_a_plain_command_is_named_by_its_task_model_and_data():
    assert job_name([]) == "train/zfnet-parts"
    assert job_name(["data=cifar10", "model=alexnet", "task=project"]) == "project/alexnet-cifar10"


def test_other_overrides_follow_in_alphabetical_order_after_the_seed():
    given = ["recipe=paper", "model=alexnet", "seed=1", "callbacks=none"]
    assert job_name(given) == "train/alexnet-parts-seed_1-callbacks_none-recipe_paper"


def test_tasks_on_several_networks_do_not_name_one():
    assert job_name(["task=study", "seed=3"]) == "study/parts-seed_3"


def test_the_order_of_the_overrides_does_not_matter():
    overrides = ["seed=1", "model=alexnet", "recipe.max_epochs=3", "data=cifar10", "ablation=wide"]
    assert job_name(overrides) == job_name(overrides[::-1])


@given(st.permutations(["task=diagnose", "+a.b=1", "seed=2", "recipe=paper", f"x={'y' * 90}", "logger=wandb"]))
@settings(max_examples=30)
def test_no_order_of_the_overrides_matters_even_where_the_name_is_cut(overrides):
    assert job_name(overrides) == job_name(sorted(overrides))


@pytest.mark.parametrize(
    "silent",
    [
        "logger=wandb",
        "logger.wandb.project=mine",
        "trainer.accelerator=cpu",
        "+trainer.profiler=simple",
        "trainer.log_every_n_steps=1",
        "data.num_workers=2",
        "data.download=true",
        "hydra.verbose=true",
        "hydra/launcher=joblib",
        "force=true",
        "output_root=/tmp/x",
        "cache_dir=/tmp/x",
        "data_dir=/data",
        "job_name=some/thing",
        "run=outputs/x",
    ],
)
def test_what_does_not_change_the_result_is_not_in_the_name(silent):
    assert job_name(["seed=1", silent]) == job_name(["seed=1"])


@pytest.mark.parametrize(
    "telling",
    ["+trainer.precision=bf16", "trainer.max_epochs=3", "recipe.max_epochs=3", "data.limit=9", "callbacks=none"],
)
def test_what_changes_the_result_is_in_the_name(telling):
    assert job_name([telling]) != job_name([])


def test_a_value_that_is_typed_twice_counts_as_the_last():
    assert job_name(["seed=1", "seed=2"]) == job_name(["seed=2"])


def test_long_names_end_in_a_hash_of_what_was_cut_off():
    first, second = (job_name([f"data.source.root=/{'very/' * 40}long/{end}"]) for end in "ab")
    assert first != second
    for name in (first, second):
        assert len(name.removeprefix("train/")) == LONGEST
        assert re.fullmatch(r"train/zfnet-parts-data\.source\.root_.*-[0-9a-f]{8}", name)


@given(st.lists(st.text(max_size=30), max_size=5))
def test_a_name_is_one_folder_below_its_task_whatever_was_typed(values):
    name = job_name([f"key{i}={value}" for i, value in enumerate(values)])
    assert re.fullmatch(r"train/[A-Za-z0-9_.+-]+", name)


@given(st.text(alphabet="ab/:[]{}'\"\\ $,=üé\n", max_size=12))
@settings(max_examples=30)
def test_a_name_can_be_typed_without_quotes(value):
    directory = f"outputs/{job_name([f'key={value}'])}"
    (parsed,) = OverridesParser.create().parse_overrides([f"run={directory}"])
    assert parsed.value() == directory


def test_a_job_writes_to_the_run_it_works_on_or_to_its_own_directory():
    assert run_dir("out", "train/zfnet", None) == "out/train/zfnet"
    assert run_dir("out", "project/zfnet", "elsewhere/run") == "elsewhere/run"


def test_the_configuration_uses_these_names():
    register_resolvers()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose("config", ["job_name=mine", "output_root=out"], return_hydra_config=True)
        OmegaConf.update(config, "job_name", "${convlens.job_name:${hydra.overrides.task},zfnet,parts}")
        other = compose("config", ["job_name=mine", "run=there"])
    config.hydra.overrides.task = ["seed=1", "model=alexnet"]
    assert config.run_dir == config.hydra.run.dir == "out/train/alexnet-parts-seed_1"
    assert Path(config.hydra.sweep.dir) / config.hydra.sweep.subdir == Path(config.run_dir).absolute()
    assert config.hydra.job_logging.handlers.file.filename == f"{config.run_dir}/run.log"
    assert other.run_dir == "there"
