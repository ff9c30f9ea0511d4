"""The files of a run, told from a user's own in the same directory; those of a run that ``force=true`` replaces.

The record (``run.json``) lists the files of a run (``files``): each is added before it is written. Only files of the
run are ever moved or removed.
"""

import contextlib
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from convlens.io.json_files import read_json
from convlens.runs.record_file import COPY, RECORD, read_record
from convlens.runs.run_log import HEADER

FOLDERS = ("checkpoints", "results", "tensorboard", "wandb")
FILES = (RECORD, COPY, "config.yaml", "metrics.csv", "metrics.json", "mean.npy", "traceback.txt")
"""Files that a run writes into its directory, besides its log."""
LOG = "run.log"
STUDY = "study.json"
"""The record of a study, whose directory holds runs."""
REPORT_MARK = b'<meta name="generator" content="convlens">'
EARLY = {LOG: HEADER.encode(), "traceback.txt": b"convlens", "report.html": REPORT_MARK}
"""What the files that commands write without a record, or before it, have in them."""
EARLY_PARTIAL = re.compile(r"\.(\.?run\.json|config\.yaml|traceback\.txt|report\.html)\..+-\d+\.partial")
"""Names of temporary files of what is written first, by a process that works now or was killed."""
CHECKPOINT = r"checkpoints/(best|last|epoch_\d+)\.ckpt"
SUFFIXES = (".png", ".npz", ".npy", ".json", ".csv", ".md", ".txt", ".partial")
"""Ends of the names of files below ``results``."""
TENSORBOARD = r"tensorboard/(events\.out\.tfevents\..+|hparams\.yaml)"
WANDB = (
    r"wandb/(id\.txt|latest-run|debug(-internal)?\.log|(offline-)?run-\d+_\d+-{}/"
    r"(run-.+\.wandb(\.synced)?|logs/.+\.log|files/(media/.+|(wandb-)?[a-z]+\.(txt|log|json|yaml))))"
)
"""Files that loggers write without our help; those of Weights & Biases have the run's id in their folder."""
ASIDE = ".replaced"
PARTIAL = ".replaced-partial"
DISCARDED = ".replaced-discarded"


def present(run_dir: Path) -> set[str]:
    """Return the files of the directory that have the place and name of a run's, relative to it."""
    found = {name for name in FILES if (run_dir / name).is_file()}
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
    there, files, foreign = present(run_dir), record.get("files"), record.get("foreign")
    if not isinstance(foreign, list):
        return there & {*map(str, files), RECORD, COPY} if isinstance(files, list) else there
    others = there - set(map(str, foreign))
    if isinstance(files, list):  # of a run that has not ended: the loggers' files are added to the list then
        return there & {*map(str, files), RECORD, COPY} | {name for name in others if _is_loggers(run_dir, name)}
    return {name for name in others if _has_our_name(run_dir, name)}  # the list is lost


def _is_loggers(run_dir: Path, name: str) -> bool:
    """Return whether a file has the name of one that a logger of this run writes."""
    try:
        run_id = (run_dir / "wandb" / "id.txt").read_text().strip()
    except (OSError, ValueError):
        run_id = ""
    wandb = re.fullmatch(WANDB.format(re.escape(run_id)), name) if run_id else None
    return bool(wandb or re.fullmatch(TENSORBOARD, name))


def _has_our_name(run_dir: Path, name: str) -> bool:
    """Return whether a file has the name of one that runs write."""
    if name.startswith("results/"):
        return name.count("/") > 1 and name.endswith(SUFFIXES)
    return name in FILES or bool(re.fullmatch(CHECKPOINT, name)) or _is_loggers(run_dir, name)


def foreign_files(run_dir: Path) -> list[str]:
    """Return the files that have the place of a run's and are not its own."""
    return sorted(present(run_dir) - own_files(run_dir))


def is_run(run_dir: Path) -> bool:
    """Return whether the record of a run or a study says that convlens made this directory."""
    if isinstance(read_json(run_dir / STUDY).get("parts"), list):
        return True
    if (run_dir / STUDY).is_file() and holds_runs(run_dir):
        return True  # a study whose record is damaged
    records = (read_record(run_dir / folder) for folder in ("", ASIDE, PARTIAL))
    return any(_is_ours(record) for record in records)


def holds_runs(folder: Path) -> bool:
    """Return whether a folder has runs in it."""
    return any(_is_ours(read_record(path.parent)) for path in folder.glob("*/run.json"))


def _is_ours(record: Mapping[str, object]) -> bool:
    """Return whether a record has the entries of ours, and is not the ``run.json`` of another program."""
    return all(isinstance(record.get(name), str) for name in ("task", "status", "command", "settings"))


def foreign_entry(run_dir: Path) -> str:
    """Return the name of an entry of a directory that is no run and not empty; empty for any other path.

    Files that a run writes before its record, and that are left if it is killed then, do not count.
    """
    if not run_dir.is_dir():
        return ""
    early = {ASIDE, PARTIAL, DISCARDED}
    names = [path.name for path in run_dir.iterdir() if path.name not in early and not _is_early(path)]
    # The record is looked for after the files: another job may begin meanwhile, which writes it before them.
    return min(names) if names and not is_run(run_dir) else ""


def _is_early(path: Path) -> bool:
    """Return whether a file is one that commands write without a record, by its name and content."""
    if path.name.startswith(".lock") or EARLY_PARTIAL.fullmatch(path.name):
        return True
    begin = EARLY.get(path.name)
    try:
        return begin is not None and path.is_file() and begin in path.read_bytes()[:20_000]
    except OSError:
        return False


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
