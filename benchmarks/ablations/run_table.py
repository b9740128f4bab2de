"""A table of runs from a command that can be stopped: what the scripts in this folder share.

Every run is a folder with its numbers in result.json, which also says that it is done; the table has the means over
seeds with their intervals, and differences of pairs of lines, seed by seed. With --record NAME the runs are kept in
runs/<system>-NAME.json here and the table in benchmarks/results, from where `percepta card` writes it into the card.
Does nothing by itself.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from percepta import card
from percepta.config import differences, to_json
from percepta.files import write_atomically
from percepta.metrics import Metric
from percepta.report import Table

RUNS = Path(__file__).with_name("runs")  # the kept runs of the cards' tables
RESULT = "result.json"
Row = Mapping[str, Any]  # what a result.json holds
Line = Mapping[str, Sequence[float]]  # number -> mean, low, high, seeds


@dataclass(frozen=True)
class Job:
    """One run of a table whose lines are arms."""

    arm: str
    seed: int

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.arm.replace(',', '').replace(' ', '-')}-seed{self.seed}"


def parser(description: str | None, data: str) -> argparse.ArgumentParser:
    """The options that all tables have.

    Args:
        data: what --data is, for --help.
    """
    out = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    out.add_argument("--out", type=Path, help="folder of the run folders; without it nothing is done")
    out.add_argument("--known", type=Path, help="table.json of earlier runs: those that --out lacks count as done")
    out.add_argument("--data", type=Path, help=data)
    out.add_argument("--share", default="1/1", help="i/n: this is the i-th of n processes")
    out.add_argument("--only-sum", action="store_true", help="train nothing, write the table of what is there")
    out.add_argument("--record", metavar="NAME", help="publish the table: see run_table.py")
    out.add_argument("--seeds", nargs="+", type=int, default=(0, 1, 2))
    out.add_argument("--device", default="cpu")
    return out


def parse(parser: argparse.ArgumentParser, words: Sequence[str] | None) -> argparse.Namespace:
    """The options, with --share as `part` (counted from 0) and `parts`; a wrong one ends the program and says why."""
    args = parser.parse_args(words)
    part, _, parts = args.share.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        parser.error(f"--share {args.share}: expected i/n with i from 1 to n, such as 1/2")
    args.part, args.parts = int(part) - 1, int(parts)
    return args


def restore(out: Path, known: Path | None, name: Callable[[Row], str]) -> None:
    """Lays the results that a table.json keeps into the run folders that have none, so that runs need not be kept.

    Args:
        name: of a job, as it stands in the file, the name of its run folder.

    Raises:
        FileNotFoundError, ValueError: no such file; no table.json.
    """
    if known is None:
        return
    try:
        rows = {name(row["job"]): row for row in json.loads(known.read_text())["runs"]}
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{known}: expected a table.json that this program wrote ({error})") from None
    for folder, row in rows.items():
        if not (out / folder / RESULT).is_file():
            write_atomically(out / folder / RESULT, json.dumps(row, indent=1) + "\n")


def is_done(folder: Path, config: Any) -> bool:
    """Whether a run has its result.

    Raises:
        ValueError: it has one that was made with other settings.
    """
    done = folder / RESULT
    if not done.is_file():
        return False
    if changed := differences(json.loads(done.read_text())["config"], to_json(config)):
        raise ValueError(f"{done} comes from other settings: {changed}; give another --out")
    return True


def finish(folder: Path, job: Any, config: Any, numbers: Mapping[str, Any]) -> None:
    """Writes a run's result: its job (a dataclass), its settings and its numbers."""
    content = {"job": vars(job), "config": to_json(config), **numbers}
    write_atomically(folder / RESULT, json.dumps(content, indent=1) + "\n")


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and the ends of its 95 % interval by Student's t; (mean, nan, nan) for one value."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, float("nan"), float("nan")
    half = float(stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5)
    return mean, mean - half, mean + half


def compare(
    lines: Mapping[str, Mapping[int, Row]], numbers: Collection[str], pairs: Sequence[tuple[str, str]]
) -> tuple[Mapping[str, Line], Mapping[str, Line]]:
    """Means over the seeds of each line, and the differences "a - b" of pairs over the seeds that both have.

    Args:
        lines: name -> seed -> result.
        numbers: what of a result is compared.
    """
    means: dict[str, Line] = {
        line: {name: [*mean_interval([row[name] for row in runs.values()]), len(runs)] for name in numbers}
        for line, runs in lines.items()
    }
    gaps: dict[str, Line] = {}
    for a, b in pairs:
        one, other = lines.get(a, {}), lines.get(b, {})
        if both := sorted(set(one) & set(other)):
            gaps[f"{a} - {b}"] = {
                name: [*mean_interval([one[seed][name] - other[seed][name] for seed in both]), len(both)]
                for name in numbers
            }
    return means, gaps


def tables(
    groups: Mapping[tuple[str, ...], Row],
    numbers: Mapping[str, tuple[float, str]],
    order: Sequence[str],
    *,
    before: Sequence[str] = (),
    line: str = "arm",
    names: Mapping[str, str] | None = None,
) -> tuple[dict[str, Metric], list[Table]]:
    """The values of a card's result file, and two tables of them: of means, and of paired differences.

    Args:
        groups: what stands before a line's name -> {"means": lines, "differences": lines}, see `compare`.
        numbers: what of a result is compared -> (what it is multiplied by, its column).
        order: of the lines; those that are not in it come last.
        before: columns in front of the lines' names. line: what a line is. names: of lines, where others are shown.
    """
    values: dict[str, Metric] = {}
    found = []
    place = {name: i for i, name in enumerate(order)}
    for part, title in (("means", line), ("differences", "difference, same seeds")):
        rows = []
        for prefix, group in groups.items():
            for key, row in sorted(group[part].items(), key=lambda item: place.get(item[0], len(place))):
                shown = " - ".join((names or {}).get(name, name) for name in key.split(" - "))
                cells = []
                for number, (scale, _) in numbers.items():
                    mean, low, high, seeds = row[number]
                    several = not np.isnan(low)
                    name = ", ".join([number, shown.replace(" - ", " minus "), *prefix])
                    values[name] = Metric(mean, *((low, high) if several else ()), n=int(seeds))
                    cells.append(card.cell(name, f"{scale:g}*.2f" if scale > 1 else ".3f", bounds=several))
                rows.append([*prefix, shown, *cells, str(next(iter(row.values()))[3])])
        columns = [*before, title, *(label for _, label in numbers.values()), "seeds"]
        found.append(Table(columns, rows))
    return values, found


def sum_up_arms(
    out: Path,
    numbers: Mapping[str, str],
    pairs: Sequence[tuple[str, str]],
    order: Sequence[str],
    system: str = "",
    name: str | None = None,
) -> str:
    """`sum_up` of a table whose lines are the arms of the jobs.

    Args:
        numbers: what of a result is compared -> its name in the table. pairs, order: see `compare` and `tables`.
        system, name: see `sum_up`.
    """

    def summary(rows: Sequence[Row]) -> Row:
        table: dict[str, dict[int, Row]] = {}
        for row in rows:
            table.setdefault(row["job"]["arm"], {})[row["job"]["seed"]] = row
        means, gaps = compare(table, numbers, pairs)
        return {"means": means, "differences": gaps}

    return sum_up(out, summary, lambda found: tables({(): found}, plain(numbers), order), system, name)


def plain(numbers: Mapping[str, str]) -> dict[str, tuple[float, str]]:
    """The numbers of `tables`, multiplied by nothing."""
    return {number: (1.0, label) for number, label in numbers.items()}


def sum_up(
    out: Path,
    summary: Callable[[list[Row]], Row],
    layout: Callable[[Row], tuple[dict[str, Metric], list[Table]]],
    system: str = "",
    name: str | None = None,
) -> str:
    """Writes table.json and table.md from every result that is there; returns the Markdown.

    Args:
        summary: results -> {"means": ..., "differences": ...}. layout: that -> see `tables`.
        system, name: of the result file, where the table is published.
    """
    rows = [json.loads(path.read_text()) for path in sorted(out.glob(f"*/{RESULT}"))]
    found = summary(rows)
    kept = json.dumps({**found, "runs": rows}, indent=1) + "\n"
    write_atomically(out / "table.json", kept)
    values, laid = layout(found)
    command = card.shown_command(["python", *sys.argv])
    result = card.measured(system, name or "table", values, command=command, tables=laid)
    shown = result.text() + "\n"
    write_atomically(out / "table.md", shown)
    if name:
        write_atomically(RUNS / f"{system}-{name}.json", kept)
        card.write(result)
    return shown
