"""The log file of a run: a job goes on without it if it cannot be written."""

import contextlib
import logging
import sys


class RunLog(logging.FileHandler):
    """A log file that is given up with one warning where Python would print a traceback for each line."""

    given_up = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; the file is opened for the first one."""
        if self.given_up:
            return
        try:
            super().emit(record)
        except OSError:
            self.handleError(record)

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
