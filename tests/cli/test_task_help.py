import sys
from unittest.mock import Mock

import pytest
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from convlens.cli.main import main
from convlens.cli.task_help import comments, header, task_help
from convlens.errors import InputError
from convlens.runs.conf_files import conf_dir, options
from convlens.runs.type_conversion import shown
from tests.composed_job import job_config


@pytest.fixture(autouse=True)
def _no_hydra():
    GlobalHydra.instance().clear()


def test_the_help_of_a_task_has_its_settings_with_comment_default_and_type():
    lines = task_help("occlude").splitlines()
    assert lines[0] == "convlens occlude run=DIR"
    assert lines[2].startswith("  occlusion sensitivity")
    stride = lines.index("  task.stride=null")
    assert "in pixels" in lines[stride + 1]
    assert lines[stride + 1].endswith("; a whole number of at least 1 or null")
    occluder = lines.index("  task.occluder=grey")
    assert lines[occluder + 1].endswith("; grey or mean or blur or noise or a number from 0 to 255")
    assert lines[-2:] == [
        "  convlens occlude run=outputs/train/zfnet-parts",
        "  convlens occlude run=outputs/train/zfnet-parts task.images=40",
    ]


@pytest.mark.parametrize("task", options("task"))
def test_every_setting_of_every_task_is_explained(task):
    said = task_help(task)
    with job_config(f"task={task}") as (cfg, _):
        names = [str(name) for name in cfg.task if name != "_target_"]
        defaults = {f"task.{name}={shown(cfg.task[name])}" for name in names}
    notes = comments((conf_dir() / "task" / f"{task}.yaml").read_text())
    for name in names:
        assert f"  task.{name}" in said
        if task not in ("filter_clipping", "first_layer", "paper", "without_duplicates"):  # studies
            assert notes.get(name), f"conf/task/{task}.yaml: {name} has no comment"
    lines = said.splitlines()
    assert lines[2].strip()  # what the task does
    examples = [line for line in lines if line.startswith("  convlens ")]
    assert len(set(examples)) == 2
    assert not defaults & set(" ".join(examples).split())


def test_settings_of_a_task_that_are_of_the_root_are_among_its_own():
    lines = task_help("collect").splitlines()
    place = lines.index("  sweep=null")
    assert lines[place + 1] == "      the folder of the runs; required; text or null"
    assert not [line for line in lines if "run_dir=" in line]  # its table is written into the folder of the runs


def test_an_unknown_task_is_answered_with_the_nearest():
    with pytest.raises(InputError, match="task=oclude is unknown: did you mean occlude"):
        task_help("oclude")


def test_comments_are_those_of_the_line_or_of_the_lines_above():
    text = "# about\n_target_: x\na: 1  # first\n# second,\n# long\nb: [1, 2]\nrules:  # table\n  c: null # it\nd: 2"
    assert OmegaConf.create(text).rules == {"c": None}
    found = comments(text)
    assert (found["a"], found["b"], found["rules"], found["rules.c"]) == ("first", "second, long", "table", "it")
    assert found["d"] == ""


@pytest.mark.parametrize(
    ("text", "commands", "about"),
    [
        (
            "# convlens task=x run=DIR: this\n# and that.\nk: 1\n",
            ["convlens x run=DIR"],
            ["this", "and that."],
        ),
        (
            "# @package _global_\n# convlens task=x a=b\n# convlens task=x\n# A.",
            ["convlens x a=b", "convlens x"],
            ["A."],
        ),
        ("# Just text.\nk: 1\n", ["convlens x"], ["Just text."]),
        ("k: 1\n", ["convlens x"], []),
    ],
)
def test_commands_and_description_are_taken_from_the_first_comment(text, commands, about):
    assert header(text, "x") == (commands, about)


def test_ctrl_c_before_a_job_begins_ends_with_one_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["convlens", "task=train"])
    monkeypatch.setattr("convlens.cli.main.with_task", Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 130
    assert capsys.readouterr().err == "convlens: stopped\n"
