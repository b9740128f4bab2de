"""What percepta raises where the user's input is wrong. Any other exception is a fault of percepta itself.

Each message says what was expected, what came and what to do. The shell shows an `InputError` in one line and anything
else with its traceback.
"""

from __future__ import annotations

from numbers import Real


class InputError(ValueError):
    """A value, a file or a command that the user gave is not what was expected."""


class MissingFileError(InputError, FileNotFoundError):
    """A file or a folder is not there."""


class FolderError(InputError, IsADirectoryError):
    """A folder was given where a file is needed."""


class InputTypeError(InputError, TypeError):
    """A value has the wrong type."""


class MissingExtraError(InputError, ModuleNotFoundError):
    """An optional package is not installed; the message has the line that installs it."""


class BusyError(InputError, BlockingIOError):
    """Another process works on it; the message says which."""


class DivergedError(InputError, FloatingPointError):
    """A training cannot go on, because its loss is no finite number."""


def one_line(error: BaseException) -> str:
    """What an error says, in one line."""
    return " ".join(_text(error).split()) or type(error).__name__


def in_lines(error: BaseException) -> str:
    """What an error says: in one line, but each item of a list (a line that begins with two spaces) on its own."""
    return "\n  ".join(" ".join(part.split()) for part in _text(error).split("\n  ")) or type(error).__name__


def _text(error: BaseException) -> str:
    """The message; `str` of a KeyError would put it between quotation marks."""
    return str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)


def check_between(name: str, value: object, low: float | int, high: float | int) -> float:
    """A number of an argument that has bounds.

    Args:
        name: of the argument, for the message.
        value: what the user gave.
        low: its lowest value.
        high: its highest value.

    Raises:
        InputError: it is no number, or lies outside.
    """
    if not isinstance(value, Real) or isinstance(value, bool) or not low <= float(value) <= high:
        raise InputError(f"{name} is a number from {low:g} to {high:g}; got {value!r}")
    return float(value)
