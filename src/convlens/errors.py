"""The one exception that is meant for the user's eyes."""


class InputError(ValueError):
    """Something the user gave is wrong; the message is one line: what, where, and what would be right.

    The command line prints it without a traceback and ends with exit code 2.
    """


class NoReLUError(InputError):
    """A rule for the way down needs a ReLU, and there is none."""


class BusyError(InputError):
    """Another process works there."""
