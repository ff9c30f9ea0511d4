"""Lightning's announcements and advice, left out: our own lines say what the user needs."""

import logging
import warnings

from convlens.io.atomic import first_process


def quiet_lightning() -> None:
    """Leave them out from here on; of several processes that work together one speaks."""
    import lightning  # noqa: F401  first, since it sets these levels itself when it is imported

    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    if not first_process():
        logging.getLogger("convlens").setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",
        ".*logging interval.*",
        ".*LeafSpec.*",
        ".*Checkpoint directory.*",
        ".*sync_dist=True.*",  # of what is the same in all processes
        ".*using .DistributedSampler. during.*",  # ours gives no image twice
        ".*has `__len__` defined.*",  # shards
        ".*your dataloader is not resumable.*",  # that of shards is
        ".*in eval mode at the start of training.*",  # frozen layers
    ):
        warnings.filterwarnings("ignore", message)
