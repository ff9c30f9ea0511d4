"""Log each message about a network only once."""

import logging
from weakref import WeakKeyDictionary

from torch import nn

_logged: WeakKeyDictionary[nn.Module, set[str]] = WeakKeyDictionary()


def log_once(net: nn.Module, log: logging.Logger, message: str, level: int = logging.INFO) -> None:
    """Log a message unless it has been logged for this network."""
    messages = _logged.setdefault(net, set())
    if message not in messages:
        messages.add(message)
        log.log(level, "%s", message)
