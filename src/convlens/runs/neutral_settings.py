"""The settings that change neither the result nor the directory of a run: one table for names and comparisons."""

SECTIONS = ("logger", "hydra", "trainer.strategy", "trainer.profiler")
"""Sections of which no setting matters."""
KEYS = (
    *("run", "run_dir", "output_root", "job_name", "force", "trust", "checkpoint_every", "data_dir", "cache_dir"),
    *("data.cache_dir", "data.download", "data.num_workers"),
    *("trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.accumulate_grad_batches"),
    *("trainer.log_every_n_steps", "trainer.num_sanity_val_steps"),
    *("trainer.enable_checkpointing", "trainer.enable_model_summary", "trainer.enable_progress_bar"),
)


def is_neutral(key: str) -> bool:
    """Return whether a setting changes neither the result of a run nor its directory.

    Args:
        key: dotted name of the setting, or a group such as ``hydra/launcher``.
    """
    path = key.replace("/", ".")
    return path in KEYS or any(path == section or path.startswith(f"{section}.") for section in SECTIONS)
