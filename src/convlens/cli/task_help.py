"""The help of one task: its settings with comments and defaults from its yaml file, types, and example commands."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any, get_type_hints

import hydra
from hydra.errors import HydraException
from hydra.utils import get_method
from omegaconf import OmegaConf

from convlens.errors import InputError
from convlens.runs.compose import register_resolvers
from convlens.runs.conf_files import conf_dir, groups
from convlens.runs.config_errors import explain
from convlens.runs.root_settings import RootSettings
from convlens.runs.type_conversion import MismatchError, convert, shown
from convlens.runs.typed_settings import described

COMMENTED = re.compile(r"^(?P<indent> *)(?P<key>\w+):(?P<value>[^#]*?)(?:\s+#\s*(?P<comment>.*))?$")
LONG = 60
"""Characters of a default that are shown."""
ROOT_TYPES = get_type_hints(RootSettings, include_extras=True)


def task_help(task: str) -> str:
    """Return the help of a task.

    Raises:
        InputError: there is no such task.
    """
    register_resolvers()
    try:
        with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
            cfg = hydra.compose("config", [f"task={task}"])
    except HydraException as error:
        raise InputError(explain(error, [f"task={task}"], groups())) from None
    text = (conf_dir() / "task" / f"{task}.yaml").read_text()
    values: Mapping[str, Any] = OmegaConf.to_container(cfg.task, resolve=False)  # type: ignore[assignment]
    types, notes = _types(str(values["_target_"])), comments(text)
    commands, about = header(text, task)
    lines = [commands[0], "", *(f"  {line}" for line in about), "", "Settings and their defaults"]
    settings = [*_settings(values, notes, types, "task"), *_settings(_root_settings(text), notes, ROOT_TYPES, "")]
    lines += settings or ["  none"]
    lines += ["", "Settings of every command: convlens --cfg job. Examples", *_examples(commands, values, types)]
    return "\n".join(lines)


def _root_settings(text: str) -> dict[str, Any]:
    """Return the settings outside of ``task`` that a task's file has, if its first line makes it one of the root."""
    values: Any = OmegaConf.to_container(OmegaConf.create(text)) if text.startswith("# @package _global_") else {}
    return {str(name): value for name, value in values.items() if name not in ("task", "defaults")}


def header(text: str, task: str) -> tuple[list[str], list[str]]:
    """Return the commands that a task's file begins with, in their short form, and what its first comment says."""
    commands, about = [], []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        comment = line.removeprefix("#").strip()
        if comment.startswith("convlens "):
            command, _, comment = comment.partition(": ")
            commands.append(command.replace(f"convlens task={task}", f"convlens {task}"))
        if comment and not comment.startswith("@"):
            about.append(comment)
    return commands or [f"convlens {task}"], about


def comments(text: str) -> dict[str, str]:
    """Return the comment of each key of a yaml file by dotted name; comments above a key count too."""
    found: dict[str, str] = {}
    path: list[tuple[int, str]] = []
    above: list[str] = []
    for line in text.splitlines():
        if line.lstrip().startswith("#"):
            above.append(line.strip().removeprefix("#").strip())
            continue
        match = COMMENTED.match(line)
        if match is None:
            above = []
            continue
        indent = len(match["indent"])
        path = [(depth, key) for depth, key in path if depth < indent] + [(indent, match["key"])]
        comment = match["comment"] or (" ".join(above) if found or indent else "")
        found[".".join(key for _, key in path)] = comment
        above = []
    return found


def _types(target: str) -> Mapping[str, Any]:
    """Return the declared types of a task's settings."""
    task = get_method(target)
    return get_type_hints(get_type_hints(task)["settings"], include_extras=True)


def _settings(
    values: Mapping[str, Any], notes: Mapping[str, str], types: Mapping[str, Any], where: str
) -> Iterator[str]:
    """Yield the lines of each setting: name and default, then meaning and type."""
    for name, value in values.items():
        if name == "_target_":
            continue
        declaration = types.get(name, Any)
        place = f"{where}.{name}" if where else name
        note = notes.get(place.removeprefix("task."), "") or notes.get(place, "")
        if isinstance(value, Mapping) and value:
            yield f"  {place}: {note}".rstrip(": ")
            hints = get_type_hints(declaration, include_extras=True) if is_dataclass(declaration) else {}
            yield from _settings(value, notes, hints, place)
            continue
        text = shown(value)
        yield f"  {place}={text if len(text) <= LONG else text[: LONG - 3] + '...'}"
        kind = described(declaration) if declaration is not Any else ""
        yield "      " + "; ".join(filter(None, [note, kind]))


def _examples(commands: Sequence[str], values: Mapping[str, Any], types: Mapping[str, Any]) -> list[str]:
    """Return two commands: those of the task's file, or a second one that changes a setting."""
    change = next(_changes(values, types), "run_dir=outputs/mine")
    two = [*commands, f"{commands[0]} {change}"][:2]
    return [f"  {command.replace('run=DIR', 'run=outputs/train/zfnet-parts')}" for command in two]


def _changes(values: Mapping[str, Any], types: Mapping[str, Any]) -> Iterator[str]:
    """Yield overrides of the numbers: twice the default, or half of it where that is too large."""
    for name, value in values.items():
        for changed in (2 * value, value / 2) if type(value) in (int, float) else ():
            try:
                convert(changed, types[name])
            except MismatchError:
                continue
            if changed != value:
                yield f"task.{name}={shown(changed)}"
