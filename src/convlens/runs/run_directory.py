"""The directory that a task writes to, locked while it works: that of a run, or a new one with its own record."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from omegaconf import DictConfig

from convlens.io.atomic import HOST, remove_partials
from convlens.io.locks import directory_lock
from convlens.runs.file_list import listing
from convlens.runs.foreign_results import check_results
from convlens.runs.record import command_line, recorded


@contextmanager
def open_run(
    cfg: DictConfig, overrides: Sequence[str], task: str, folder: str = "", *, shared: bool = False
) -> Iterator[Path]:
    """Open the directory that a task writes to: that of ``run``, which keeps its own record, or a new one.

    Args:
        cfg: the composed configuration.
        overrides: of the command.
        task: name of the task, for the record of a new directory.
        folder: name of the task's folder below ``results``; the task's own name if empty. Of a run, only that folder
            is locked: different analyses of one run may go side by side.
        shared: other jobs of the task may work in the directory at the same time, and protect their files themselves.
    """
    run_dir, part = Path(cfg.run_dir), folder or task
    # Jobs that share a directory have a lock each, which keeps the run from being replaced meanwhile.
    lock = directory_lock(run_dir, f"{part}-{HOST}-{os.getpid()}" if shared else part)
    if cfg.run is None:
        with lock if shared else nullcontext(), recorded(run_dir, cfg, task, command_line(overrides), shared=shared):
            yield run_dir
        return
    if not shared:
        check_results(run_dir, f"results/{part}")
    with lock, listing(run_dir, shared=shared):
        remove_partials(run_dir / "results" / part)
        yield run_dir
