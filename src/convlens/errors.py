"""The one exception that is meant for the user's eyes."""


class InputError(ValueError):
    """Something the user gave is wrong; the message is one line: what, where, and what would be right.

    The command line prints it without a traceback and ends with exit code 2.
    """


class NoReLUError(InputError):
    """The backward rule needs a ReLU below the unit, and the network has none."""


class BusyError(InputError):
    """Another process works there."""


class ResourceError(InputError):
    """The machine lacks room on its disk, memory or open files, or may not write there."""


class DamagedError(InputError):
    """A file is cut short, or is not as it was written."""
