"""Lightning's announcements and advice, left out: our own lines say what the user needs."""

import logging
import warnings


def quiet_lightning() -> None:
    """Leave them out from here on."""
    import lightning  # noqa: F401  first, since it sets these levels itself when it is imported

    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",
        ".*logging interval.*",
        ".*LeafSpec.*",
        ".*Checkpoint directory.*",
        ".*in eval mode at the start of training.*",  # frozen layers
    ):
        warnings.filterwarnings("ignore", message)
