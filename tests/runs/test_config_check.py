import contextlib
import copy
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from convlens import callbacks, data, nets, systems
from convlens.errors import InputError
from convlens.runs.conf_files import options
from convlens.runs.constructors import constructor_of
from convlens.runs.dispatch import check
from convlens.runs.run_config import flat, plain
from convlens.runs.type_conversion import described
from tests.composed_job import job_config

# Keys that a text, or a list of texts, is right for; every other key refuses `abc`.
TEXTS = {
    *("run", "run_dir", "output_root", "job_name", "data_dir", "cache_dir", "data.cache_dir", "logger.csv.save_dir"),
    *("model.name", "model.weights", "model.pretrained", "model.input_mean", "data.mean", "data.exclude"),
    *("sweep", "trust"),
    *("callbacks.projections.layers", "callbacks.projections.split", "callbacks.evolution.layers"),
    *("trainer.accelerator", "trainer.strategy"),
}
IMAGES = {"split", "label"}
TASK_TEXTS = defaultdict(
    set,
    collect={"sweep"},
    compare={"run_dirs"},
    correspond={*IMAGES, "parts", "layers"},
    diagnose={"run_dirs", "split"},
    duplicates={"against", "against_root"},
    ensemble={"run_dirs"},
    filter_clipping={"scale", "title"},
    first_layer={"scale", "title"},
    paper={"scale", "title"},
    invariance={*IMAGES, "layers", "symmetric"},
    occlude={*IMAGES, "layer"},
    project={"layers", "split"},
    report={"run_dirs"},
    study={"title"},
    transfer={"layers", "features"},
    without_duplicates={"scale", "title"},
    write_shards={"output", "shard_bytes"},
)


@pytest.fixture(scope="module")
def configs() -> dict[str, DictConfig]:
    """The configuration of each task, composed once."""
    found = {}
    for task in options("task"):
        with job_config(f"task={task}") as (cfg, _):
            found[task] = OmegaConf.create(plain(cfg))
    return found


def scalars(cfg: DictConfig, section: str) -> Iterator[str]:
    for key in flat(plain(cfg)):
        if (key.partition(".")[0] == "task") is (section == "task") and not key.endswith(("_target_", "_partial_")):
            yield key


def given(cfg: DictConfig, key: str, value: Any) -> DictConfig | str:
    """The configuration with a value changed, checked and converted; or why it is refused."""
    own = copy.deepcopy(cfg)
    OmegaConf.update(own, key, value, merge=False)
    try:
        check(own)
    except InputError as error:
        return str(error)
    return own


def refuses(cfg: DictConfig, key: str, value: Any) -> None:
    said = given(cfg, key, value)
    assert isinstance(said, str), f"{key}={value} was taken"
    assert "\n" not in said
    assert said.startswith(f"{key}="), said
    assert ": give " in said


def test_every_setting_outside_of_tasks_refuses_what_it_cannot_be(configs, tmp_path):
    cfg = configs["train"]
    with contextlib.chdir(tmp_path):
        for key in scalars(cfg, "root"):
            refuses(cfg, key, {"x": 1} if key in TEXTS else "abc")
        assert not list(tmp_path.iterdir())


def test_true_is_taken_only_where_it_is_declared(configs, tmp_path):
    cfg = configs["train"]
    # the others' sections have a type that is checked in the same way
    keys = [key for key in scalars(cfg, "root") if key.partition(".")[0] not in ("data", "system", "callbacks")]
    with contextlib.chdir(tmp_path):
        taken = {key for key in keys if not isinstance(given(cfg, key, True), str)}
    assert taken == {"force", "trust", "trainer.enable_model_summary", "trainer.enable_progress_bar"}


def test_annotations_of_what_the_configuration_makes_are_all_understood():
    public = [f"{package.__name__}.{name}" for package in (callbacks, data, nets, systems) for name in package.__all__]
    for target in (*public, "convlens.loggers.epoch_csv.EpochCSV", "convlens.loggers.epoch_wandb.EpochWandb"):
        for keyword, declaration in constructor_of(target, "").hints.items():
            if keyword not in ("return", "options") and declaration is not Any:
                assert described(declaration) != "any value", (target, keyword)


@pytest.mark.parametrize("task", options("task"))
def test_every_setting_of_a_task_refuses_what_it_cannot_be(configs, task, tmp_path):
    cfg = configs[task]
    with contextlib.chdir(tmp_path):
        for key in scalars(cfg, "task"):
            refuses(cfg, key, {"x": {"y": 1}} if key.removeprefix("task.") in TASK_TEXTS[task] else "abc")
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("key", ["force", "data.download", "system.compile", "trainer.enable_model_summary"])
@pytest.mark.parametrize(
    ("typed", "meant"),
    [("no", False), ("off", False), ("False", False), (0, False), ("yes", True), ("on", True), ("1", True)],
)
def test_words_for_true_and_false_are_converted(configs, key, typed, meant):
    assert OmegaConf.select(given(configs["train"], key, typed), key) is meant


def test_what_is_converted_is_recorded_and_seen_by_what_refers_to_it():
    with job_config("force=off", "system.compile=no", "callbacks.evolution.layers=conv1") as (cfg, overrides):
        check(cfg, overrides)
        assert (cfg.force, cfg.system.compile) == (False, False)
        assert cfg.callbacks.evolution.layers == ["conv1"]
    with job_config("task=occlude", "task.only_correct=no", "task.class_map=3") as (cfg, overrides):
        settings: Any = check(cfg, overrides)
        assert (settings.only_correct, cfg.task.only_correct) == (False, False)
        assert cfg.task.class_map == [3]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("force=abc", "force=abc: give true or false"),
        ("seed=-1", "seed=-1: give a whole number from 0 to 4294967295"),
        ("seed=1.5", "seed=1.5: give a whole number from 0 to 4294967295"),
        ("data.image_size=1e8", "data.image_size=100000000.0: give a whole number"),
        ("recipe.max_filter_rms=0", "recipe.max_filter_rms=0: give a number above 0 or null"),
        ("recipe.dropout=1.5", "recipe.dropout=1.5: give a number from 0 to 1"),
        ("recipe.optimizer.lr=abc", "recipe.optimizer.lr=abc: give a number"),
        ("+recipe.optimizer.betas=[0.9,x]", "recipe.optimizer.betas=[0.9, x]: give a list of 2: a number, a number"),
        ("trainer.devices=0", "trainer.devices=0: give a whole number of at least 1 or auto"),
        ("trainer.precision=bf16-mixd", "trainer.precision=bf16-mixd: give 64 or 32 or 16"),
        (
            "callbacks.projections.epochs=[1,x]",
            "callbacks.projections.epochs=[1, x]: give a list of whole numbers or nu",
        ),
        ("+model.net.maps={fc6:many}", "model.net.maps={fc6: many}: give {name: value}, a value being a whole number"),
        ("callbacks.projections=null", "callbacks.projections=null: give settings with a _target_"),
    ],
)
def test_what_is_refused_is_named_with_what_it_may_be(override, said):
    with pytest.raises(InputError) as caught, job_config(override) as job:
        check(*job)
    assert str(caught.value).startswith(said)


def test_other_libraries_get_what_they_take_beyond_their_annotations():
    given = ("recipe=paper", "recipe.scheduler.patience=2.5", "trainer.devices=[0]", "trainer.accelerator=cpu")
    with job_config(*given, "trainer.log_every_n_steps=1", "+trainer.profiler=simple") as (cfg, overrides):
        check(cfg, overrides)
        assert cfg.recipe.scheduler.patience == 2.5


def test_shared_numbers_are_refused_under_the_key_that_was_typed():
    for key in ("recipe.batch_size", "recipe.max_epochs", "recipe.dropout"):  # data, trainer and network refer to them
        with pytest.raises(InputError, match=f"^{key}=abc: "), job_config(f"{key}=abc") as job:
            check(*job)


def test_an_ablation_without_its_package_line_is_refused(tmp_path):
    with (
        contextlib.chdir(tmp_path),
        job_config("+ablation.removed=[5]") as (cfg, overrides),  # what such a file does
        pytest.raises(InputError, match=r"the first line of its file must be # @package model\.net"),
    ):
        check(cfg, overrides)
