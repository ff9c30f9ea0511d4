"""Arguments of the command line before Hydra reads them: the short form of a task, and questions for help."""

import difflib
from collections.abc import Sequence

from convlens.errors import InputError
from convlens.runs.conf_files import options
from convlens.runs.renames import OLD_OPTIONS

HELP = ("--help", "-h")
INFO = ("--info", "-i")
CHOICES = {
    **dict.fromkeys(("--cfg", "-c"), ("job", "hydra", "all")),
    **dict.fromkeys(INFO, ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")),
}
"""The values of the flags of Hydra's command line that take one of several."""
VALUE_FLAGS = (
    *("--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd"),
    *("--package", "-p", "--experimental-rerun", *CHOICES),
)
MODES = (("--run", "-r"), ("--multirun", "-m"), ("--cfg", "-c"), INFO, ("--shell-completion", "-sc"))
"""Flags of which a command has one at most."""
FLAGS = (*HELP, "--hydra-help", "--version", "--resolve", *(name for mode in MODES for name in mode), *VALUE_FLAGS)


def flags_first(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with the flags before the overrides: Hydra reads no overrides on both sides of a flag.

    Raises:
        InputError: there is no such flag, it lacks its value, has another or needs none, or two exclude each other.
    """
    flags: list[str] = []
    overrides: list[str] = []
    left = list(arguments)
    while left:
        argument = left.pop(0)
        flag, equals, value = argument.partition("=")
        if not argument.startswith("-"):
            overrides.append(argument)
        elif flag not in FLAGS:
            near = difflib.get_close_matches(flag, FLAGS, 1)
            raise InputError(f"{argument} is no flag: {f'did you mean {near[0]}? ' if near else ''}see convlens --help")
        elif flag not in VALUE_FLAGS:
            if equals:
                raise InputError(f"{argument}: {flag} takes no value: see convlens --help")
            flags.append(flag)
        else:
            flags += [flag, value if equals else _value(flag, left)]
            _check_value(*flags[-2:])
    _check_together(flags)
    return [*flags, *overrides]


def _value(flag: str, left: list[str]) -> str:
    """Return the value of a flag, which is taken from the arguments that are left; empty if there is none."""
    if flag in INFO and not (left and left[0] in CHOICES[flag]):
        return "all"
    return left.pop(0) if left and not left[0].startswith("-") else ""


def _check_value(flag: str, value: str) -> None:
    if not value:
        raise InputError(f"{flag} lacks its value: see convlens --help")
    if flag in CHOICES and value not in CHOICES[flag]:
        raise InputError(f"{flag} {value}: choose one of {', '.join(CHOICES[flag])}")


def _check_together(flags: Sequence[str]) -> None:
    given = [mode[0] for mode in MODES if set(mode) & set(flags)]
    if len(given) > 1:
        raise InputError(f"{' and '.join(given)} exclude each other: give one of them")
    if "--resolve" in flags and not {"--cfg", "-c", *HELP} & set(flags):
        raise InputError("--resolve shows nothing by itself: give --cfg job --resolve")


def with_task(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with the short form ``convlens occlude`` written as ``convlens task=occlude``.

    Raises:
        InputError: the word is no task; the message names the nearest one.
    """
    place = _bare_word(arguments)
    if place is None:
        return list(arguments)
    word, tasks = arguments[place], options("task")
    if word not in tasks and ("task", word) not in OLD_OPTIONS:
        near = " or ".join(difflib.get_close_matches(word, tasks, 2))
        guess = f"did you mean {near}? " if near else ""
        raise InputError(
            f"{word!r} is no task: {guess}there is {', '.join(tasks)}; everything else is written key=value"
        )
    return [*arguments[:place], f"task={word}", *arguments[place + 1 :]]


def _bare_word(arguments: Sequence[str]) -> int | None:
    """Return the place of the first argument that is a single word."""
    skipped = False
    for place, argument in enumerate(arguments):
        if skipped or argument.startswith("-"):
            skipped = argument in VALUE_FLAGS
            continue
        if argument.replace("_", "").isalnum():
            return place
    return None


def help_asked(arguments: Sequence[str]) -> str:
    """Return the task whose settings are asked for, by ``--help`` with ``task=...``; empty if there is none."""
    if not any(flag in arguments for flag in HELP):
        return ""
    given = [argument.removeprefix("task=") for argument in arguments if argument.startswith("task=")]
    return given[-1] if given else ""
