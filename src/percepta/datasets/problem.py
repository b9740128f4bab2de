"""What is wrong with data: by file and line, and as the text that `percepta data SYSTEM check` prints."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

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
        start = re.match(r"(.+?)(?:, line (\d+))?: (.*)", str(error), re.DOTALL)
        if start is None:
            problems.append(Problem(root, None, str(error)))
        else:
            problems.append(Problem(Path(start[1]), int(start[2]) if start[2] else None, start[3]))


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
