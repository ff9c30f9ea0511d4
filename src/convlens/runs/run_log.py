"""The log file of a run: a job goes on without it if it cannot be written."""

import contextlib
import logging
import os
import sys
from io import TextIOWrapper

HEADER = "log of convlens\n"
"""The first line, which tells a log from a file of the user."""


class RunLog(logging.FileHandler):
    """A log file that is given up with one warning where Python would print a traceback for each line."""

    given_up = False
    is_new: bool = False
    """Whether this process has made the file."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; the file is opened for the first one."""
        if self.given_up:
            return
        try:
            super().emit(record)
        except OSError:
            self.handleError(record)

    def _open(self) -> TextIOWrapper:
        """Open the file; a new one gets a first line."""
        new = not os.path.lexists(self.baseFilename)
        stream = super()._open()
        self.is_new = self.is_new or new
        if new:
            stream.write(HEADER)
        return stream

    def close(self) -> None:
        """Close the file; lines that the disk did not take are lost."""
        with contextlib.suppress(OSError):
            super().close()

    def handleError(self, record: logging.LogRecord) -> None:
        """Say once, elsewhere, that the log ends here; mistakes in a message are shown as usual."""
        error = sys.exception()
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        self.given_up = True
        logging.getLogger(__name__).warning("%s ends here (%s)", self.baseFilename, error.strerror)


def remove_new_logs() -> None:
    """Remove the log files that this process has made, and none that was there before."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, RunLog) and handler.is_new:
            handler.is_new = False
            handler.close()
            with contextlib.suppress(OSError):
                os.unlink(handler.baseFilename)
