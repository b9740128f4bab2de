"""Looks through a folder before training: the pictures, and the benchmark's table where it lies beside them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from percepta.datasets import classified, layouts, nasbench
from percepta.datasets.classified import Classified, Report
from percepta.datasets.problem import Problem, problem_of
from percepta.systems.supernet.space import Macro


def check(root: Path | str, *, examples: int = 12, progress: Callable[[int, int], None] | None = None) -> Report:
    """Reads pictures and table once.

    Args:
        root: CIFAR, a folder that holds it as `cifar10`, or class folders.
        examples: how many the contact sheet will show.
        progress: called with (pictures done, pictures in all); for CIFAR with splits.

    Raises:
        MissingFileError: no such folder.
        InputError: a folder that is no set of classified pictures, or holds several. What is wrong inside is in the
            report.
    """
    found, problems, warnings = layouts.find_one(root, Classified), [], []
    pictures = found.read(found.root, problems, warnings)
    report = classified.check(
        found.root, found.set.NAME, pictures, problems, warnings, examples=examples, progress=progress
    )
    table = nasbench.find(Path(root))
    if table is None:
        text = "no NAS-Bench-Macro table beside the pictures: rankings have no truth"
        return replace(report, warnings=(*report.warnings, Problem(Path(root), None, text)))
    count, problem = _check_table(table)
    counts = report.counts | ({"architectures": count} if count else {})
    return replace(report, counts=counts, problems=(*report.problems, *([problem] if problem else [])))


def _check_table(path: Path) -> tuple[int, Problem | None]:
    """How many architectures a table has, and what is wrong: every code needs the costs that its network has."""
    try:
        table, space = nasbench.read_macro(path), Macro()
        table.rows(space.codes())
        parameters, flops = space.costs([space.validate(code) for code in table.codes])
    except (OSError, ValueError) as error:
        return 0, problem_of(path, error)
    wrong = np.flatnonzero((parameters != table.parameters) | (flops != table.flops))
    if not len(wrong):
        return len(table.codes), None
    first = int(wrong[0])
    text = (
        f"{len(wrong)} entries have other costs than their network, the first is {table.codes[first]!r}: "
        f"{table.parameters[first]:,} parameters where it has {parameters[first]:,}"
    )
    return len(table.codes), Problem(path, None, text)
