"""Warnings of other libraries: one line for each place that warns, however often it does."""

import logging
import warnings
from pathlib import Path

log = logging.getLogger(__name__)


def shorten_warnings() -> None:
    """Log the first warning of each place in another library's code in one line, and no other ones, from now on."""
    seen: set[tuple[str, int, str]] = set()

    def show(message: Warning | str, category: type[Warning], filename: str, lineno: int, *rest: object) -> None:
        place = (filename, lineno, category.__name__)
        if place in seen:
            return
        seen.add(place)
        text = " ".join(str(message).split())
        log.warning("%s (%s of %s)", text[:200], category.__name__, Path(filename).parent.name)

    warnings.showwarning = show  # type: ignore[assignment]  # its last arguments are for files
