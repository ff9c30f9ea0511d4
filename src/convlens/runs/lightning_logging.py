"""Silence Lightning's messages and advice: convlens logs what the user needs."""

import logging
import warnings

from convlens.io.rank import is_rank_zero


def quiet_lightning() -> None:
    """Silence Lightning in this process, and all messages but warnings in processes other than the first."""
    import lightning  # noqa: F401  first, since it sets these levels itself when it is imported
    from lightning.pytorch.utilities import rank_zero_only

    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    if is_rank_zero():
        rank_zero_only.rank = 0  # type: ignore[attr-defined]  # Lightning also reads a stray RANK, and its loggers would write nothing
    else:
        logging.getLogger("convlens").setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",
        ".*logging interval.*",
        ".*LeafSpec.*",
        ".*Checkpoint directory.*",
        ".*sync_dist=True.*",  # for values that are equal in all processes
        ".*using .DistributedSampler. during.*",  # the data module repeats no image
        ".*has `__len__` defined.*",  # shards
        ".*your dataloader is not resumable.*",  # the loader of shards is
        ".*in eval mode at the start of training.*",  # frozen layers
    ):
        warnings.filterwarnings("ignore", message)
