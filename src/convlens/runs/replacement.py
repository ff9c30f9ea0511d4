"""The files of a run, told from a user's own in the same directory; those of a run that ``force=true`` replaces.

The record (``run.json``) lists the files of a run when it ends (``files``). Until then, it lists those of the directory
that were there before and are not the run's (``foreign``). Only files of the run are ever moved or removed.
"""

import contextlib
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
from pathlib import Path

from convlens.io.file_states import file_states
from convlens.io.json_files import read_json, write_json
from convlens.io.locks import directory_lock
from convlens.io.rank import is_rank_zero
from convlens.runs.damage import CHECKED
from convlens.runs.record_file import COPY, RECORD, read_record, write_record

FOLDERS = ("checkpoints", "results", "tensorboard", "wandb")
FILES = (RECORD, COPY, "config.yaml", "metrics.csv", "metrics.json", "mean.npy", "traceback.txt")
"""Files that a run writes into its directory, besides its log."""
LOG = "run.log"
STUDY = "study.json"
"""The record of a study, whose directory holds runs."""
SUFFIXES = (".png", ".npz", ".npy", ".json", ".csv", ".md", ".txt", ".partial")
"""Ends of the names of files below ``results``."""
UNFINISHED = ".unfinished-"
"""Begin of the name of the file that says that an analysis works, or was killed."""
ASIDE = ".replaced"
PARTIAL = ".replaced-partial"
DISCARDED = ".replaced-discarded"


def present(run_dir: Path) -> set[str]:
    """Return the files of the directory that have the place and name of a run's, relative to it."""
    found = {name for name in FILES if (run_dir / name).is_file()}
    found |= {path.name for path in run_dir.glob(f"{UNFINISHED}*")}
    for folder in FOLDERS:
        if not (run_dir / folder).is_symlink():
            found |= {str(path.relative_to(run_dir)) for path in _walk(run_dir / folder)}
    return found


def own_files(run_dir: Path) -> set[str]:
    """Return the files of the directory that its run has written; none without a record.

    Records of version 0.1 list no files: all that have the place of a run's are taken for its own.
    """
    record = read_record(run_dir)
    if not _is_ours(record):
        return set()
    there = present(run_dir)
    markers = {name for name in there if name.startswith(UNFINISHED)}
    if isinstance(files := record.get("files"), list):
        return markers | there & ({str(name) for name in files} | {RECORD, COPY} | _left_by_killed(run_dir, there))
    foreign = record.get("foreign")
    if not isinstance(foreign, list):
        return there
    # A run that did not end has no list of its files, and the user may have added some since: only names of ours.
    return {name for name in there - {str(name) for name in foreign} if _has_our_name(name)}


def _has_our_name(name: str) -> bool:
    """Return whether a file of a run that has not ended has the name of one that runs write."""
    folder, _, rest = name.partition("/")
    if folder == "checkpoints":
        return bool(re.fullmatch(r"(best|last|epoch_\d+)\.ckpt", rest))
    return folder != "results" or "/partial/" in rest or ("/" in rest and rest.endswith(SUFFIXES))


def foreign_files(run_dir: Path) -> list[str]:
    """Return the files that have the place of a run's and are not its own."""
    return sorted(present(run_dir) - own_files(run_dir))


def is_run(run_dir: Path) -> bool:
    """Return whether the record of a run or a study says that convlens made this directory."""
    if isinstance(read_json(run_dir / STUDY).get("parts"), list):
        return True
    if (run_dir / STUDY).is_file() and any(_is_ours(read_record(path.parent)) for path in run_dir.glob("*/run.json")):
        return True  # a study whose record is damaged
    records = (read_record(run_dir / folder) for folder in ("", ASIDE, PARTIAL))
    return any(_is_ours(record) for record in records)


def _is_ours(record: Mapping[str, object]) -> bool:
    """Return whether a record has the entries of ours, and is not the ``run.json`` of another program."""
    return all(isinstance(record.get(name), str) for name in ("task", "status", "command", "settings"))


def foreign_entry(run_dir: Path) -> str:
    """Return the name of an entry of a directory that is no run and not empty; empty for any other path.

    Files that a run writes before its record, and that are left if it is killed then, do not count.
    """
    if not run_dir.is_dir() or is_run(run_dir):
        return ""
    early = {LOG, "traceback.txt", "report.html", ASIDE, PARTIAL, DISCARDED}
    return min(
        (path.name for path in run_dir.iterdir() if path.name not in early and not path.name.startswith(".lock")),
        default="",
    )


def clear(run_dir: Path) -> None:
    """Remove the run's files, its record last: nothing of it is continued, counted or reported."""
    _remove(run_dir, own_files(run_dir))


def clear_unfinished(run_dir: Path) -> None:
    """Remove the run's files and the folders that it has made and not filled, as if it had not begun."""
    clear(run_dir)
    for folder in FOLDERS:
        made = run_dir / folder
        if made.is_dir() and not made.is_symlink():
            for path in sorted([made, *made.rglob("*")], reverse=True):
                with contextlib.suppress(OSError):  # a file, or not empty
                    path.rmdir()


def set_aside(run_dir: Path) -> None:
    """Move the files of an earlier run to a hidden folder of its directory.

    The folder gets its final name by one renaming when it is complete, so that `restore` can tell files that were not
    moved yet from those of the new run, whenever this process is killed.
    """
    _move(run_dir, run_dir / PARTIAL, own_files(run_dir))
    if (run_dir / PARTIAL).exists():
        (run_dir / PARTIAL).rename(run_dir / ASIDE)


def restore(run_dir: Path) -> bool:
    """Put back the files of an earlier run, if any were set aside, in place of those of the new run.

    Returns:
        Whether there were any.
    """
    aside, partial = run_dir / ASIDE, run_dir / PARTIAL
    shutil.rmtree(run_dir / DISCARDED, ignore_errors=True)
    if aside.exists():
        clear(run_dir)
        aside.rename(partial)
    if not partial.exists():
        return False
    _move(partial, run_dir, {str(path.relative_to(partial)) for path in _walk(partial)})
    shutil.rmtree(partial)
    return True


def discard(run_dir: Path) -> None:
    """Remove the files that were set aside, if any."""
    if (run_dir / ASIDE).exists():
        (run_dir / ASIDE).rename(run_dir / DISCARDED)
        shutil.rmtree(run_dir / DISCARDED)


@contextmanager
def listing(run_dir: Path, folder: str) -> Iterator[None]:
    """Add the files that an analysis writes into a finished run meanwhile to the files of its record.

    A file beside the record says which files of others were there before, so that those that a killed analysis leaves
    are known to be ours.

    Args:
        run_dir: the run.
        folder: the start of the name of the analysis' folder below ``results``.
    """
    foreign, marker = set(foreign_files(run_dir)), run_dir / f"{UNFINISHED}{folder}"
    if is_rank_zero() and not marker.exists() and is_run(run_dir):
        write_json(marker, {"folder": folder, "foreign": sorted(foreign)})
    try:
        yield
    finally:
        if is_rank_zero():
            if new := _new_files(run_dir, foreign):
                with directory_lock(run_dir, "record", wait=True):  # other analyses may end at the same time
                    record = read_record(run_dir)
                    kept = {str(name) for name in record["files"]} & present(run_dir)
                    write_record(run_dir, record | {"files": sorted(new | kept)})
            marker.unlink(missing_ok=True)


def _new_files(run_dir: Path, foreign: Set[str]) -> set[str]:
    """Return the files that are there now, are not those of others and are missing in the record's list, if any."""
    files = read_record(run_dir).get("files")
    if not isinstance(files, list):
        return set()
    there = {name for name in present(run_dir) if not name.startswith(UNFINISHED)}
    return there - foreign - {str(name) for name in files}


def _left_by_killed(run_dir: Path, there: Set[str]) -> set[str]:
    """Return the files that analyses of a finished run have left that were killed."""
    found: set[str] = set()
    for marker in run_dir.glob(f"{UNFINISHED}*"):
        note = read_json(marker)
        before, prefix = set(note.get("foreign", there)), f"results/{note.get('folder', '/')}"
        found |= {name for name in there - before if name.startswith(prefix)}
    return found


def ended(record: Mapping[str, object], run_dir: Path) -> dict[str, object]:
    """Return the record of a run that has ended, with the list of its files."""
    foreign = record.get("foreign")
    others = set(foreign) if isinstance(foreign, list) else set()
    rest = {name: value for name, value in record.items() if name != "foreign"}
    files = sorted((present(run_dir) | {RECORD, COPY}) - others)
    return rest | {"files": files, "states": file_states(run_dir, CHECKED)}


def _walk(folder: Path) -> Iterable[Path]:
    """Return the files below a folder, links among them, but nothing that a link to a folder leads to."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path)
        else:
            yield path


def _record_last(names: Iterable[str]) -> list[str]:
    """Return the names in an order that ends with the record, which says whose the others are."""
    return sorted(names, key=lambda name: (name in (RECORD, COPY), name))


def _remove(folder: Path, names: Iterable[str]) -> None:
    """Remove files, and the folders that are empty then."""
    for name in _record_last(names):
        (folder / name).unlink(missing_ok=True)
        _remove_empty(folder, name)


def _move(source: Path, target: Path, names: Iterable[str]) -> None:
    """Move files to the same places below another folder, and remove the folders that are empty then."""
    for name in _record_last(names):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).rename(target / name)
        _remove_empty(source, name)


def _remove_empty(folder: Path, name: str) -> None:
    """Remove the folders of a file that was removed, as far as they are empty."""
    for parent in list(Path(name).parents)[:-1]:
        if any((folder / parent).iterdir()):
            return
        (folder / parent).rmdir()
