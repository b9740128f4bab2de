"""The verbs of object following: `percepta evaluate vos`, which also scores and writes folders of masks."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from percepta import __main__ as general
from percepta import shell
from percepta.errors import InputError
from percepta.files import write_atomically


@dataclass(frozen=True)
class Evaluate(general.Evaluate):
    """Evaluates vos on videos with masks; --results scores somebody's folder of masks, --write makes such a folder."""

    results: Path | None = None
    """Score this folder of masks (DIR/<video>/<frame>.png) against --data, without any network."""
    write: Path | None = None
    """Instead of numbers, write the masks of all videos of --data into this folder, as the servers want them."""


def evaluate(options: Evaluate, screen: Console) -> int:
    """Numbers of the network, numbers of a folder of masks, or a folder of masks.

    Raises:
        InputError: --results or --write without --data, or both at once.
    """
    if options.results is None and options.write is None:
        plain = general.Evaluate(**{item.name: getattr(options, item.name) for item in fields(general.Evaluate)})
        return general.run_evaluation("vos", plain, words_of(plain), screen)
    if options.data is None or (options.results is not None and options.write is not None):
        raise InputError("--results DIR and --write DIR need --data DIR, and only one of them is possible at a time")
    return (
        _score(options, options.data, screen) if options.results is not None else _write(options, options.data, screen)
    )


def words_of(options: object) -> list[str]:
    """The command line that gives some options: those that are not as they are when left out."""
    words: list[str] = []
    for item in fields(options):  # type: ignore[arg-type]
        value, name = getattr(options, item.name), "--" + item.name.replace("_", "-")
        if value != item.default:
            words += [name] if value is True else [part for one in _listed(value) for part in (name, str(one))]
    return words


def _listed(value: object) -> tuple[object, ...]:
    return value if isinstance(value, tuple) else (value,)


def _score(options: Evaluate, data: Path, screen: Console) -> int:
    from percepta import report
    from percepta.systems.vos.evaluate import score_results
    from percepta.train import EXAMPLES

    assert options.results is not None  # `evaluate` looked
    with shell.progress_bar(screen, f"comparing {options.results} with {data}") as bar:
        found, missing = score_results(
            data, options.results, options.split, examples=EXAMPLES, progress=lambda done, total: bar(done, total, "")
        )
    columns, rows = report.metric_rows(found.metrics)
    table = Table(title=f"{options.results} on {data}, split {options.split}")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right")
    for row in rows:
        table.add_row(*map(escape, row))
    screen.print(table)
    if missing.text:
        screen.print(f"[yellow]{escape(missing.text)}[/]", soft_wrap=True)
    content = {
        "facts": {"results": str(options.results), "data": str(data), "split": options.split},
        "metrics": {name: asdict(metric) for name, metric in found.metrics.items()},
        "missing": {"videos": list(missing.videos), "files": list(missing.files)},
    }
    write_atomically(options.out / "metrics.json", json.dumps(content, indent=1) + "\n")
    page = report.Page(f"Masks of {options.results.name}", [report.Metrics(found.metrics), *found.blocks])
    page.write(options.out / "report.html")
    screen.print(f"{options.out / 'metrics.json'} and report.html", soft_wrap=True)
    return int(bool(missing.text))


def _write(options: Evaluate, data: Path, screen: Console) -> int:
    from percepta.systems.vos.evaluate import write_results

    assert options.write is not None  # `evaluate` looked
    system = shell.load("vos", options)
    with shell.progress_bar(screen, f"following the objects of {data}") as bar:
        files = write_results(
            system.session, data, options.split, options.write, progress=lambda done, total: bar(done, total, "")
        )
    screen.print(f"{options.write}: {len(files)} masks; zip the folder's content for a server", soft_wrap=True)
    return 0


COMMANDS = {"evaluate": (Evaluate, evaluate)}
