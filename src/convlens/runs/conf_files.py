"""Folder of the configuration's files, its groups, and their options."""

import re
from pathlib import Path


def conf_dir() -> Path:
    """Return the folder of the configuration: in the installed package, or next to ``src`` in a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "conf"
    return installed if installed.exists() else package.parents[1] / "conf"


def groups() -> list[str]:
    """Return the names of the configuration's groups, such as ``task`` and ``model``."""
    return sorted(path.name for path in conf_dir().iterdir() if path.is_dir() and path.name != "hydra")


def options(name: str) -> list[str]:
    """Return the names of a group's options."""
    return sorted(path.stem for path in (conf_dir() / name).glob("*.yaml"))


def task_settings() -> dict[str, list[str]]:
    """Return the names of the settings below ``task`` that the file of each task has."""
    texts = {task: (conf_dir() / "task" / f"{task}.yaml").read_text() for task in options("task")}
    nested = {task: "" if text.startswith("# @package _global_") else text for task, text in texts.items()}
    return {task: re.findall(r"^(?!defaults:)([a-zA-Z]\w*):", text, re.MULTILINE) for task, text in nested.items()}
