"""The commands in the documents compose: their groups, options and keys exist."""

import re
import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from convlens.runs.compose import register_resolvers
from convlens.runs.conf_files import conf_dir

ROOT = Path(__file__).resolve().parents[2]
FRONT = ("README.md",)
OTHERS = ("conf/experiment", "src/convlens/analysis", "src/convlens/data", "src/convlens/transfer")


def commands(*documents: str) -> set[str]:
    """The commands in indented lines and in code spans, each once, but for those that take Hydra's own options."""
    found: list[str] = []
    for document in documents:
        text = (ROOT / document).read_text()
        found += re.findall(r"^    (convlens .*)$", text, re.MULTILINE)
        found += re.findall(r"`(convlens [^`]*)`", text.replace("\n", " "))
    plain = {re.split(r"\s+#", command)[0].strip() for command in found}
    return {command for command in plain if "--" not in command and "launcher" not in command}


def overrides(command: str) -> list[str]:
    """The overrides of the first job that a command begins."""
    words = [word for word in shlex.split(command)[1:] if not word.startswith("-")]
    return [word if "[" in word or "{" in word else word.partition(",")[0] for word in words]


QUICK = commands(*FRONT)
SLOW = commands(*(f"{folder}/README.md" for folder in OTHERS)) - QUICK
COMMANDS = [*sorted(QUICK), *(pytest.param(command, marks=pytest.mark.slow) for command in sorted(SLOW))]


def test_commands_are_found():
    assert len(COMMANDS) > 40


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_of_the_documents_compose(command):
    if "first_layer_search" in command:
        pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    register_resolvers()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose("config", overrides(command))
    assert OmegaConf.select(config, "task._target_").startswith("convlens.tasks.")
