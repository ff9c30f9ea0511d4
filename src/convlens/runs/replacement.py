"""The files of a run that ``force=true`` trains anew: kept aside until the new run has made a step, else put back."""

import shutil
from pathlib import Path

FILES = (
    "checkpoints",
    "results",
    "tensorboard",
    "wandb",
    "config.yaml",
    "run.json",
    "metrics.csv",
    "metrics.json",
    "mean.npy",
    "traceback.txt",
)
"""What a run writes into its directory, beside its log."""
ASIDE = ".replaced"
PARTIAL = ".replaced-partial"
DISCARDED = ".replaced-discarded"


def clear(run_dir: Path) -> None:
    """Remove what a run left, its record too: nothing of it is continued, counted or reported."""
    for name in FILES:
        _remove(run_dir / name)


def set_aside(run_dir: Path) -> None:
    """Move the files of an earlier run to a hidden folder of its directory.

    The folder gets its final name by one renaming when it is complete, so that `restore` can tell files that were not
    moved yet from those of the new run, whenever this process is killed.
    """
    partial = run_dir / PARTIAL
    partial.mkdir()
    for name in FILES:
        if (run_dir / name).exists():
            (run_dir / name).rename(partial / name)
    partial.rename(run_dir / ASIDE)


def restore(run_dir: Path) -> bool:
    """Put back the files of an earlier run, if any were set aside, in place of those of the new run.

    Returns:
        Whether there were any.
    """
    aside, partial = run_dir / ASIDE, run_dir / PARTIAL
    _remove(run_dir / DISCARDED)
    if aside.exists():
        clear(run_dir)
        aside.rename(partial)
    if not partial.exists():
        return False
    for path in sorted(partial.iterdir()):
        path.rename(run_dir / path.name)
    partial.rmdir()
    return True


def discard(run_dir: Path) -> None:
    """Remove the files that were set aside, if any."""
    if (run_dir / ASIDE).exists():
        (run_dir / ASIDE).rename(run_dir / DISCARDED)
        _remove(run_dir / DISCARDED)


def _remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
