"""Refusal to write where a file of the user would be overwritten: among results, tables and reports of ours."""

import re
from pathlib import Path

from convlens.errors import InputError
from convlens.runs.replacement import CHECKPOINT, REPORT_MARK, foreign_files

SUFFIXES = (".png", ".npz", ".npy", ".json", ".csv", ".md")
"""Of the files that analyses write."""
OTHERS = re.compile(rf"{CHECKPOINT}|.*/(exclude(_other)?|splits/[^/]+)\.txt")
"""Names of the checkpoints and lists that commands write."""


def check_results(run_dir: Path, *folders: str) -> None:
    """Check that no file in some folders of a run could be overwritten that the run has not written.

    Args:
        run_dir: the run.
        folders: paths below it, such as ``results/occlusion``.

    Raises:
        InputError: there is such a file.
    """
    for name in foreign_files(run_dir):
        written = name.endswith(SUFFIXES) or OTHERS.fullmatch(name)
        if written and name.startswith(tuple(f"{folder}/" for folder in folders)):
            raise _not_ours(run_dir / name)


def check_table(folder: Path, ours: set[str]) -> None:
    """Check that the files of a table are ours: those that its result lists.

    Args:
        folder: the folder of the table.
        ours: names of the files that an earlier table wrote there.

    Raises:
        InputError: there is another file.
    """
    for path in sorted(folder.glob("*")):
        if path.name not in ours and path.name.endswith(SUFFIXES):
            raise _not_ours(path)


def check_report(path: Path) -> None:
    """Check that a report is ours before it is written anew.

    Raises:
        InputError: the file is something else.
    """
    if path.is_file() and REPORT_MARK not in path.read_bytes()[:20_000]:
        raise _not_ours(path)


def check_claims(path: Path) -> None:
    """Check that a file of claims is ours before it is written anew.

    Raises:
        InputError: the file is something else.
    """
    if path.is_file() and b'"claims"' not in path.read_bytes()[:100]:
        raise _not_ours(path)


def _not_ours(path: Path) -> InputError:
    return InputError(f"{path} would be overwritten and was not written by convlens: move it to another folder")
