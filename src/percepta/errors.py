"""What percepta raises where the user's input is wrong. Any other exception is a fault of percepta itself.

Each message says what was expected, what came and what to do. The shell shows an `InputError` in one line and anything
else with its traceback.
"""

from __future__ import annotations


class InputError(ValueError):
    """A value, a file or a command that the user gave is not what was expected."""


class MissingFileError(InputError, FileNotFoundError):
    """A file or a folder is not there."""


class InputTypeError(InputError, TypeError):
    """A value has the wrong type."""


class MissingExtraError(InputError, ModuleNotFoundError):
    """An optional package is not installed; the message has the line that installs it."""


class BusyError(InputError, BlockingIOError):
    """Another process works on it; the message says which."""


class DivergedError(InputError, FloatingPointError):
    """A training cannot go on, because its loss is no finite number."""
