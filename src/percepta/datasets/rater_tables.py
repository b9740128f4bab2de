"""What the readers of public rating studies share: a table of the people who rated, and notes of many rows at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from percepta.datasets.problem import Problem
from percepta.datasets.ratings import Field
from percepta.datasets.tables import note, read_table


@dataclass
class Tally:
    """Notes once what many rows share: its first line and how often it comes. `close` writes the notes."""

    file: Path
    notes: list[Problem] | None
    found: dict[str, list[int]] = field(default_factory=dict)

    def add(self, line: int, message: str) -> None:
        """One more row; without a list raises InputError as `note` does."""
        if self.notes is None:
            note(None, self.file, line, message)
        self.found.setdefault(message, [line, 0])[1] += 1

    def close(self) -> None:
        more = {1: "", 2: " (and 1 more row)"}
        for message, (line, count) in self.found.items():
            note(self.notes, self.file, line, message + more.get(count, f" (and {count - 1:,} more rows)"))


def read_profiles(
    path: Path,
    key: str,
    columns: Mapping[str, Field],
    problems: list[Problem] | None = None,
    codes: Mapping[str, Mapping[str, str]] | None = None,
) -> tuple[tuple[str, ...], tuple[dict[str, str | float], ...]]:
    """A table with one person a row: identifiers and profiles. A blank cell is left out of the profile.

    Args:
        path: CSV whose first line names its columns.
        key: column of the identifiers.
        columns: column -> the field it fills.
        problems: see `tables.py`; a wrong value is left out, a person who comes twice counts once.
        codes: column -> {what the table holds: which choice that is}.

    Raises:
        MissingFileError, InputError: no such file; no such column; a bad row where `problems` is None.
    """
    profiles: dict[str, dict[str, str | float]] = {}
    lines: dict[str, int] = {}
    for line, (person, *cells) in read_table(path, (key, *columns), problems=problems):
        if not person:
            note(problems, path, line, f"the {key} is empty")
        elif person in profiles:
            note(problems, path, line, f"{key} {person!r} is in line {lines[person]} already")
        else:
            lines[person] = line
            profile = profiles[person] = {}
            for (column, about), cell in zip(columns.items(), cells, strict=True):
                if cell:
                    try:
                        profile[about.name] = about.read((codes or {}).get(column, {}).get(cell, cell))
                    except ValueError as error:
                        note(problems, path, line, str(error))
    return tuple(profiles), tuple(profiles.values())
