"""Every bad command ends with exit code 2 and one line, and writes nothing."""

import contextlib
import copy
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from convlens.errors import InputError
from convlens.runs.conf_files import options
from convlens.runs.dispatch import check
from convlens.runs.run_config import plain
from tests.bad_inputs.commands import ROWS, SETTINGS, UNUSABLE
from tests.composed_job import job_config
from tests.tasks.conftest import call_main


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what is in the way."""
    made = tmp_path_factory.mktemp("commands")
    (made / "FILE").write_text("mine")
    (made / "images").mkdir()
    for pipe in ("PIPE", "PIPE.npy"):
        os.mkfifo(made / pipe)
    return made


@pytest.fixture(scope="module")
def configuration() -> Callable[[str], DictConfig]:
    """The configuration of a task, composed once."""
    found: dict[str, DictConfig] = {}

    def of(task: str) -> DictConfig:
        if task not in found:
            with job_config(f"task={task}") as (cfg, _):
                found[task] = OmegaConf.create(plain(cfg))
        return copy.deepcopy(found[task])

    return of


def listing(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*"))


def check_line(line: str, message: str) -> None:
    assert message in line
    assert "\n" not in line
    assert len(line) < 700


@pytest.mark.parametrize(("task", "setting", "message"), SETTINGS, ids=[f"{row[0]} {row[1]}" for row in SETTINGS])
def test_a_bad_setting_is_refused_in_one_line(configuration, folder, task, setting, message):
    cfg, before = configuration(task), listing(folder)
    override = OverridesParser.create().parse_override(setting)
    place, _, name = override.key_or_group.rpartition(".")
    if override.is_delete():
        del (OmegaConf.select(cfg, place) if place else cfg)[name]
    else:
        OmegaConf.update(cfg, override.key_or_group, override.value(), merge=False, force_add=True)
    with contextlib.chdir(folder), pytest.raises(InputError) as error:
        check(cfg)
    check_line(str(error.value), message)
    assert listing(folder) == before


def typed(folder: Path, command: str, message: str) -> None:
    before = listing(folder)
    outcome = call_main(folder, *command.split(" "))
    assert outcome.code == 2, outcome
    assert outcome.err.startswith("convlens: "), outcome.err
    assert outcome.err.endswith("\n")
    check_line(outcome.err[:-1], message)
    assert "Traceback" not in outcome.out
    assert listing(folder) == before


@pytest.mark.parametrize(
    ("command", "message"),
    [pytest.param(*row, id=row[0], marks=() if n % 4 == 0 else pytest.mark.slow) for n, row in enumerate(ROWS)],
)
def test_a_bad_command_ends_with_one_line_and_writes_nothing(folder, command, message):
    typed(folder, command, message)


@pytest.mark.slow
@pytest.mark.parametrize(("command", "message"), UNUSABLE, ids=[command for command, _ in UNUSABLE])
def test_a_command_that_cannot_be_done_ends_with_one_line_and_writes_nothing(folder, command, message):
    typed(folder, command, message)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "setting"), [row[:2] for row in SETTINGS], ids=[" ".join(row[:2]) for row in SETTINGS]
)
def test_a_bad_setting_ends_its_command(folder, task, setting):
    key = setting.strip("~").partition("=")[0]  # Hydra refuses some before they are checked, in other words
    typed(folder, f"task={task} {setting}", key)


def test_every_task_and_every_part_of_the_configuration_has_rows():
    rows = [(task, setting.partition("=")[0]) for task, setting, _ in SETTINGS]
    assert {task for task, _ in rows} == set(options("task"))
    with job_config() as (cfg, _):
        for key, value in plain(cfg).items():
            if key not in ("experiment", "ablation"):
                assert any(name.split(".")[0] == key for _, name in rows), key
            if key in ("recipe", "model", "data", "system") and isinstance(value, dict):
                some = {name.split(".")[1] for _, name in rows if name.startswith(f"{key}.")}
                assert len(some) >= 2, key
