"""Errors of the machine during a job, as one line that names the settings of the task which would help."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from omegaconf import DictConfig

from convlens.errors import InputError
from convlens.io.resources import resource_error

MEMORY = {
    "train": "data.batch_size",
    "project": "task.max_images or data.batch_size",
    "occlude": "task.images or data.image_size",
    "invariance": "task.images or task.steps",
    "correspond": "task.images",
    "diagnose": "task.images",
    "transfer": "data.batch_size, task.pool_size or task.images_per_class",
    "duplicates": "task.block_size",
    "write_shards": "task.workers",
    "ensemble": "the number of runs",
    "compare": "data.limit of the runs",
    "collect": "the number of runs",
    "report": "the number of runs",
}
"""The quantity that bounds the memory of each task."""


@contextmanager
def explained(cfg: DictConfig) -> Iterator[None]:
    """Turn errors of the machine, such as a full disk or too little memory, into one line.

    Raises:
        ResourceError: in place of such an error.
    """
    try:
        yield
    except InputError:  # of settings too that the lines below would read
        raise
    except Exception as error:
        task = str(cfg.task.get("_target_", "")).removesuffix(".run").rpartition(".")[2]
        found = resource_error(error, Path(cfg.run_dir), MEMORY.get(task, ""))
        if found is None:
            raise
        raise found from error
