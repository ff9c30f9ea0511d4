import copy

import pytest
from hydra.utils import get_method
from omegaconf import DictConfig

from convlens.errors import InputError
from convlens.runs.conf_files import options
from convlens.runs.dispatch import check
from convlens.runs.neutral_settings import KEYS, is_neutral
from convlens.runs.renames import OLD_KEYS, OLD_OPTIONS, OLD_TARGETS, migrate, renamed_key
from convlens.runs.run_config import flat, plain, settings_of
from tests.composed_job import job_config


def tables(cfg: DictConfig) -> list[str]:
    """Settings of the task that are tables, also empty ones."""
    return [f"task.{name}" for name, value in cfg.task.items() if isinstance(value, DictConfig)]


def test_every_new_name_is_a_key_and_no_old_one_is():
    keys: set[str] = set()
    for task in options("task"):
        with job_config(f"task={task}") as (cfg, _):
            own = {".".join(key.split(".")[:depth]) for key in (*flat(plain(cfg)), *tables(cfg)) for depth in (1, 2, 3)}
        keys |= {key.replace("task.", f"task.{task}.", 1) if key.startswith("task.") else key for key in own}
    for scope, old, new in OLD_KEYS:
        if scope == "callbacks.*":
            continue  # rules are not set in conf/
        section = "" if scope == "root" else scope.removesuffix(".*") + "."
        there = [key for key in keys if key.startswith(section) and f".{key}".endswith(f".{new}")]
        assert there, (scope, new)
        assert f"{section}{old}" not in keys, (scope, old)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("data.fit=squeeze", "data.fit is called data.resize_mode since version 0.2"),
        ("+data.fit=squeeze", "data.fit is called data.resize_mode since version 0.2"),
        ("~data.fit", "data.fit is called data.resize_mode since version 0.2"),
        ("~data.fit=crop", "data.fit is called data.resize_mode since version 0.2"),
        (
            "task.correct=true",
            "task.correct is called task.only_correct since version 0.2: "
            "choose a task that has it, task=invariance or task=occlude",
        ),
        (
            "task.random=2",
            "task.random is called task.random_regions since version 0.2: choose a task that has it, task=correspond; "
            "task.random is called task.random_weights_control since version 0.2: choose a task that has it, "
            "task=transfer",
        ),
        (
            "+callbacks.projections.rules.seed=one",
            "callbacks.projections.rules.seed is called callbacks.projections.rules.signal since version 0.2",
        ),
        ("model.init=run", "model.init is called model.pretrained since version 0.2"),
        ("task=pack", "task=pack is called task=write_shards since version 0.2"),
    ],
)
def test_an_old_key_is_answered_with_the_new_one(override, said):
    with pytest.raises(InputError) as caught, job_config(override) as job:
        check(*job)
    assert str(caught.value) == said


def test_tasks_with_the_same_old_key_are_told_apart_by_their_keys():
    with job_config("task=occlude") as (cfg, _):
        assert renamed_key("task.fill", list(cfg.task)) == "task.fill is called task.occluder since version 0.2"
    with job_config("task=report") as (cfg, _):
        assert renamed_key("task.fill", list(cfg.task)) is None
    assert renamed_key("data.fits", ["resize_mode"]) is None


def test_migration_renames_keys_values_and_targets_of_its_own_task_only():
    old = {
        "task": {"_target_": "convlens.tasks.occlude.run", "fill": "grey", "correct": True, "shown": 3},
        "data": {"fit": "crop", "source": {"fit": 1}},
        "callbacks": {"projections": {"rules": {"seed": "one"}}},
    }
    config = copy.deepcopy(old)
    migrate(config)
    assert config["task"] == {
        "_target_": "convlens.tasks.occlude.run",
        "occluder": "grey",
        "only_correct": True,
        "shown": 3,
    }
    assert config["data"] == {"resize_mode": "crop", "source": {"fit": 1}}
    assert config["callbacks"]["projections"]["rules"] == {"signal": "one"}
    again = copy.deepcopy(config)
    migrate(again)
    assert again == config
    pack = {"task": {"_target_": "convlens.tasks.pack.run"}}
    migrate(pack)
    assert pack["task"]["_target_"] == "convlens.tasks.write_shards.run"


def test_old_targets_and_options_have_successors():
    for target in OLD_TARGETS.values():
        assert callable(get_method(target))
    for (group, _), new in OLD_OPTIONS.items():
        assert new in options(group)


def test_neutral_settings_are_keys_and_are_left_out_of_what_is_compared():
    with job_config("logger=wandb", "+trainer.enable_checkpointing=true") as (cfg, _):
        values = plain(cfg)
    own = flat(values)
    assert [key for key in KEYS if key not in own] == []
    assert not [key for key in settings_of(values) if is_neutral(key) or key.startswith(("logger", "task"))]


@pytest.mark.parametrize(
    "key", ["logger", "logger.wandb.project", "hydra/launcher", "hydra.verbose", "trainer.strategy.find", "force"]
)
def test_sections_are_neutral_with_all_their_settings(key):
    assert is_neutral(key)


@pytest.mark.parametrize("key", ["seed", "trainer.precision", "data.limit", "forceful", "loggers", "run_directory"])
def test_other_settings_are_not_neutral(key):
    assert not is_neutral(key)
