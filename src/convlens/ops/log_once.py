"""What is said of a network is said once, whatever the number of calls."""

import logging
from weakref import WeakKeyDictionary

from torch import nn

_told: WeakKeyDictionary[nn.Module, set[str]] = WeakKeyDictionary()


def log_once(net: nn.Module, log: logging.Logger, message: str, level: int = logging.INFO) -> None:
    """Log a message, unless it was said of this network before."""
    told = _told.setdefault(net, set())
    if message not in told:
        told.add(message)
        log.log(level, "%s", message)
