"""What is wrong with data: by file and line, and as the text that `percepta data SYSTEM check` prints."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from percepta.errors import InputError

Example = TypeVar("Example")


class Problem(NamedTuple):
    """What is wrong, in which file, at which line (counted from 1; None where lines mean nothing)."""

    file: Path
    line: int | None
    message: str

    def __str__(self) -> str:
        return f"{self.file}{f', line {self.line}' if self.line else ''}: {self.message}"


@contextmanager
def noting(problems: list[Problem] | None, root: Path) -> Iterator[None]:
    """Turns the error of a reader into a problem, with the file and the line that its text starts with.

    Args:
        problems: where it is added; None: the error is raised as it is.
        root: the file of problems whose text names none.
    """
    try:
        yield
    except (OSError, ValueError) as error:
        if problems is None:
            raise
        problems.append(problem_of(root, error))


def problem_of(root: Path, error: Exception) -> Problem:
    """An error as a problem of the file and the line that its message begins with; else of `root`."""
    if error.args and isinstance(error.args[0], Problem):
        return error.args[0]
    text = str(error)
    if text.startswith(f"{root}: "):
        return Problem(root, None, text.removeprefix(f"{root}: "))
    start = re.match(r"(.+?)(?:, line (\d+))?: (.*)", text, re.DOTALL)
    if start is None or len(start[1]) > 4000:
        return Problem(root, None, text)
    return Problem(Path(start[1]), int(start[2]) if start[2] else None, start[3])


def tell(problems: Sequence[Problem], what: str, *, strict: bool = False) -> None:
    """Says by a warning how many items were left out, and names the first.

    Args:
        problems: one for each item that was left out; without any nothing is said.
        what: what they are of, for the message: "120 pictures of pets".
        strict: raise the first instead.

    Raises:
        InputError: there is a problem, and `strict` is set.
    """
    if not problems:
        return
    if strict:
        raise InputError(problems[0])
    more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
    warnings.warn(f"left out of {what}: {problems[0]}{more}; `percepta data SYSTEM check` lists all", stacklevel=3)


@dataclass(frozen=True)
class Findings(Generic[Example]):
    """What a look through a folder found; each system's `check.Report` adds what it is called and its contact sheet.

    Attributes:
        root: the folder.
        layout: what it is: a key of the system's layouts, or words.
        counts: how many of what, by name.
        problems: what has to be mended, the first first.
        warnings: what may be meant so, but rarely is.
        examples: good ones, spread over the data, to be shown.
    """

    root: Path
    layout: str
    counts: dict[str, int]
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    examples: tuple[Example, ...] = field(default=(), repr=False)

    @property
    def ok(self) -> bool:
        """Whether it can be used as it is."""
        return not self.problems

    @property
    def title(self) -> str:
        """The folder and what it is."""
        return f"{self.root}: {self.layout}"

    @property
    def ready(self) -> str:
        """What to say where there is no problem."""
        return "Ready to train."

    def text(self, most: int = 10) -> str:
        """Lines for people: the counts, at most `most` problems and as many warnings, and what to do."""
        lines = [self.title, *(f"  {number:>8,} {name}" for name, number in self.counts.items())]
        for kind, found in (("problem", self.problems), ("warning", self.warnings)):
            if found:
                lines.append(f"{len(found)} {kind}{'s' if len(found) > 1 else ''}:")
                lines += [f"  {entry}" for entry in found[:most]]
                lines += [f"  ... and {len(found) - most} more"] if len(found) > most else []
        return "\n".join([*lines, f"Mend this first: {self.problems[0]}" if self.problems else self.ready])
