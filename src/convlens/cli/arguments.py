"""Arguments of the command line before Hydra reads them: the short form of a task, and questions for help."""

import difflib
from collections.abc import Sequence

from convlens.errors import InputError
from convlens.runs.compose import options
from convlens.runs.renames import OLD_OPTIONS

HELP = ("--help", "-h")
VALUE_FLAGS = (
    *("--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd"),
    *("--cfg", "-c", "--package", "-p", "--info", "-i"),
)


FLAGS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys((*HELP, "--hydra-help", "--version", "--resolve", "--run", "-r", "--multirun", "-m"), ()),
    **dict.fromkeys(("--shell-completion", "-sc", "--experimental-rerun", *VALUE_FLAGS), ()),
    **dict.fromkeys(("--cfg", "-c"), ("job", "hydra", "all")),
    **dict.fromkeys(("--info", "-i"), ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")),
}
"""What begins with a dash in a command of Hydra, with the values that it may have where these are known."""


def check_flags(arguments: Sequence[str]) -> None:
    """Check what begins with a dash, of which Hydra would complain over many lines.

    Raises:
        InputError: there is no such flag, or it lacks its value or has another one.
    """
    for place, argument in enumerate(arguments):
        flag, equals, value = argument.partition("=")
        before = arguments[place - 1] if place else ""
        if not argument.startswith("-") or before in VALUE_FLAGS:
            continue
        if flag not in FLAGS:
            near = difflib.get_close_matches(flag, FLAGS, 1)
            raise InputError(f"{argument} is no flag: {f'did you mean {near[0]}? ' if near else ''}see convlens --help")
        value = value if equals else "".join(arguments[place + 1 : place + 2])
        if flag in VALUE_FLAGS and flag not in ("--info", "-i") and not value:
            raise InputError(f"{flag} lacks its value: see convlens --help")
        if FLAGS[flag] and value not in FLAGS[flag] and (equals or flag in ("--cfg", "-c")):
            raise InputError(f"{flag} {value}: choose one of {', '.join(FLAGS[flag])}")


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
