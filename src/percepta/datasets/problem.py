"""What is wrong with data: by file and line, and as the text that `percepta data SYSTEM check` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple


class Problem(NamedTuple):
    """What is wrong, in which file, at which line (counted from 1; None where lines mean nothing)."""

    file: Path
    line: int | None
    message: str

    def __str__(self) -> str:
        return f"{self.file}{f', line {self.line}' if self.line else ''}: {self.message}"


def findings(
    title: str,
    counts: Mapping[str, int],
    problems: Sequence[Problem],
    warnings: Sequence[Problem],
    ready: str,
    most: int = 10,
) -> str:
    """Lines for people: the counts, at most `most` problems and as many warnings, and what to do.

    Args:
        title: the folder and what it is.
        ready: what to say where there is no problem.
    """
    lines = [title, *(f"  {number:>8,} {name}" for name, number in counts.items())]
    for kind, found in (("problem", problems), ("warning", warnings)):
        if found:
            lines.append(f"{len(found)} {kind}{'s' if len(found) > 1 else ''}:")
            lines += [f"  {entry}" for entry in found[:most]]
            lines += [f"  ... and {len(found) - most} more"] if len(found) > most else []
    return "\n".join([*lines, f"Mend this first: {problems[0]}" if problems else ready])
