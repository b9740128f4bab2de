"""Published numbers: files of what commands measured, and the places in documents that show them.

A result file, `benchmarks/results/<system>-<name>.json`, says what was measured: command, commit, machine, date, the
hash of the weights, and values with their intervals and baselines. A document (a system's CARD.md, README.md) says
where a value belongs; `percepta card SYSTEM` writes it there:

    <!-- n refer/evaluate.miou .2f -->0.63<!-- /n -->          the value "miou" of refer-evaluate.json, and its format
    <!-- table refer/evaluate -->...<!-- /table -->            the file's tables, and how it was measured
    <!-- source planes/speed -->...<!-- /source -->            how it was measured, as a sentence

A key is a name in lower case, its words joined by "-". `:low`, `:high` (ends of the 95 % interval), `:n` or a
baseline's key may follow it. A format is Python's; `100*.1f` multiplies by 100 first. A marker that ends in
`by hand 2026-11-27` has no result file yet: its text was written by a person on that day, and it is left alone until
the file is there.
"""

from __future__ import annotations

import json
import math
import os
import platform
import re
import shlex
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from percepta import checkpoint, weights
from percepta.errors import InputError, MissingFileError
from percepta.files import write_atomically
from percepta.formats import read_json
from percepta.metrics import Metric
from percepta.report import Table, markdown_table, metric_rows

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"

_MARKER = re.compile(r"<!-- (?P<kind>n|table|source) (?P<what>[^<>]*?) -->(?:(?!<!--).)*<!-- /(?P=kind) -->", re.DOTALL)
_HALF = re.compile(r"<!-- /?(?:n|table|source)(?: [^<>]*?)? -->")
_HAND = re.compile(r"(?P<rest>.*\S) by hand \d{4}-\d\d-\d\d")
_FILE = r"(?P<system>[a-z0-9]+)/(?P<name>[\w-]+)"
_PLACE = re.compile(rf"(?P<file>{_FILE})\.(?P<key>[\w-]+(?::[\w-]+)?) (?P<form>\S+)")
_CELL = re.compile(r"\{(?P<key>[\w-]+(?::[\w-]+)?) (?P<form>[^\s}]+)\}")


@dataclass(frozen=True)
class Result:
    """What one command measured.

    Attributes:
        system, name: of what; the file is called `<system>-<name>.json`.
        command: what measured it.
        commit: of the source, with "-dirty" where that was changed; "" outside a checkout.
        machine: processor, cores, threads and torch.
        date: the day, as 2026-11-28.
        weights: the hash of the tensors that were measured; "" where they are no shipped ones (random weights, or
            networks that the command trained itself).
        values: by the names that a table shows.
        facts: what a table says besides.
        tables: how the values are laid out; cells hold "{key format}". None: one row a value.
    """

    system: str
    name: str
    command: str
    commit: str
    machine: str
    date: str
    weights: str
    values: Mapping[str, Metric]
    facts: Mapping[str, str] = field(default_factory=dict)
    tables: Sequence[Table] = ()

    def number(self, key: str, form: str) -> str | None:
        """A value as text; None where there is no such key.

        Args:
            key: of a value, or `key:low`, `key:high`, `key:n`, `key:baseline`.
            form: Python's format, such as .2f, or 100*.1f.

        Raises:
            InputError: not a format of numbers.
        """
        name, _, part = key.partition(":")
        metric = next((metric for own, metric in self.values.items() if slug(own) == name), None)
        if metric is None:
            return None
        baselines = {slug(own): value for own, value in metric.baselines.items()}
        own = {"": metric.value, "low": metric.low, "high": metric.high, "n": metric.n}
        value = (baselines | own).get(part)
        if value is None:
            return None
        factor, times, spec = form.rpartition("*")
        try:
            return format(float(factor) * value if times else value, spec)
        except ValueError as error:
            raise InputError(
                f"{self.system}/{self.name}.{key}: the format {form!r} does not suit it ({error})"
            ) from None

    def text(self) -> str:
        """The tables in Markdown, and how they were measured."""
        if not self.tables:
            facts = {
                **self.facts, "weights": self.weights, "command": f"`{self.command}`",
                "commit, date": f"{self.commit}, {self.date}", "machine": self.machine,
            }  # fmt: skip
            rows = [list(row) for row in facts.items() if row[1]]
            return f"{markdown_table(*metric_rows(self.values))}\n\n{markdown_table(['', ''], rows)}"
        texts = []
        for table in self.tables:
            rows = [[_CELL.sub(self._cell, str(cell)) for cell in row] for row in table.rows]
            caption = f"{table.caption}\n\n" if table.caption else ""
            texts.append(caption + markdown_table(table.columns, rows))
        return "\n\n".join([*texts, self.source()])

    def _cell(self, match: re.Match[str]) -> str:
        text = self.number(match["key"], match["form"])
        if text is None:
            raise InputError(f"{self.system}-{self.name}.json: a table wants {match['key']}, which is no value of it")
        return text

    def source(self) -> str:
        """How it was measured, in a sentence."""
        commit = f", commit {self.commit}" if self.commit else ""
        return f"Measured by `{self.command}` on {self.date}{commit} ({self.machine})."


@dataclass(frozen=True)
class Filled:
    """A document with its numbers.

    Attributes:
        text: all of it.
        missing: places whose result file or key is not there; their text is as it was.
        by_hand: files of the places whose numbers a person wrote.
        changed: whether it differs from the document before.
        places: the files that its markers name, each once.
    """

    text: str
    missing: tuple[str, ...] = ()
    by_hand: tuple[str, ...] = ()
    changed: bool = False
    places: tuple[str, ...] = ()


# ------------------------------------------------------------------------------------------------ measuring


def slug(name: str) -> str:
    """A name as a key: "mIoU, DAVIS" → "miou-davis"."""
    return "-".join(re.findall(r"[^\W_]+", name.lower()))


def cell(name: str, form: str = ".3f", *, bounds: bool = True) -> str:
    """A table's cell that shows a value and, with `bounds`, its interval.

    Args:
        name: of a value.
        form: Python's format.
        bounds: whether the interval stands behind it.
    """
    key = slug(name)
    return f"{{{key} {form}}}" + (f" ({{{key}:low {form}}} to {{{key}:high {form}}})" if bounds else "")


def results_folder() -> Path:
    """The folder of the result files.

    Raises:
        InputError: this is no checkout.
    """
    if not RESULTS.is_dir():
        raise InputError(f"numbers are published in a checkout of percepta: there is no folder {RESULTS}")
    return RESULTS


def measured(
    system: str,
    name: str,
    values: Mapping[str, Metric],
    *,
    command: str,
    weights: str = "",
    facts: Mapping[str, str] | None = None,
    tables: Sequence[Table] = (),
) -> Result:
    """A result of today, of this source on this machine; see `Result` for the arguments.

    Args:
        system: what was measured.
        name: of the result file.
        values: numbers by the names that a table shows.
        command: what measured them.
        weights: hash of the tensors that were measured; "" for none that ship.
        facts: what a table says besides.
        tables: how the values are laid out; none: one row a value.
    """
    today = date.today().isoformat()
    return Result(system, name, command, _commit(), _machine(), today, weights, values, facts or {}, tables)


def write(result: Result, folder: Path | None = None) -> Path:
    """Writes a result file.

    Raises:
        InputError: names that give one key, a table that wants a key that is none, or no checkout to write it into.
    """
    folder = folder or results_folder()
    for kind, names in {"values": result.values, **{n: m.baselines for n, m in result.values.items()}}.items():
        keys = [slug(name) for name in names]
        clash = [name for name in names if not slug(name) or keys.count(slug(name)) > 1]
        if clash or (kind != "values" and {"low", "high", "n"} & set(keys)):
            raise InputError(f"{result.system}-{result.name}.json: names of {kind} do not give keys: {clash or keys}")
    result.text()  # all cells have their values
    content = asdict(result) | {
        "values": {slug(name): {"name": name, **_plain(metric)} for name, metric in result.values.items()}
    }
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    return write_atomically(folder / f"{result.system}-{result.name}.json", text)


def read(path: Path) -> Result:
    """A result file.

    Raises:
        MissingFileError, InputError: no such file; something else than a result.
    """
    if not path.is_file():
        raise MissingFileError(f"no result file {path}")
    try:
        content = read_json(path)
        values: dict[str, Metric] = {}
        for key, row in content["values"].items():
            name = row.pop("name")
            value = row.pop("value")
            values[name] = Metric(value=float("nan") if value is None else value, **row)
            if slug(name) != key:
                raise ValueError(f"the key of {name!r} is {slug(name)!r}, not {key!r}")
        tables = [Table(**table) for table in content["tables"]]
        result = Result(**content | {"values": values, "tables": tables})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: not a result file ({type(error).__name__}: {error})") from error
    if path.name != f"{result.system}-{result.name}.json":
        raise InputError(f"{path}: holds {result.system}-{result.name}")
    return result


def shipped(system: str) -> dict[str, str]:
    """{hash: file} of the assets of a system: of the tensors of weights, of the bytes of anything else."""
    found = {}
    for path in sorted(weights.ASSETS.glob(f"{system}-*")):
        tensors = path.suffix == ".safetensors"
        found[checkpoint.weights_hash(path) if tensors else file_hash(path)] = path.name
    return found


def file_hash(path: Path) -> str:
    """The first 16 hexadecimal digits of a file's sha256."""
    return weights.sha256(path)[:16]


def shown_command(words: Sequence[str]) -> str:
    """A command line as a card shows it: without --out, and without where data and runs lie on this machine."""
    shown, skip = [], False
    for word in words:
        option, equals, value = word.partition("=")
        if skip or option == "--out":
            skip = not skip and not equals
            continue
        plain = value if equals and (option.startswith("--") or Path(value).is_absolute()) else word
        shown.append(word.removesuffix(plain) + _shown_path(plain))
    return shlex.join(shown)


def _shown_path(word: str) -> str:
    data = os.environ.get("PERCEPTA_DATA")
    path = Path(word)
    if not path.is_absolute():
        return word
    for folder, name in ((data, "DATA"), (str(Path.cwd()), "")):
        if folder and path.is_relative_to(folder):
            return str(Path(name) / path.relative_to(folder))
    return path.name


def _plain(metric: Metric) -> dict[str, Any]:
    """A metric for JSON, which has no nan."""
    row = asdict(metric)
    finite = {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in row.items()}
    baselines = {name: value for name, value in metric.baselines.items() if math.isfinite(value)}
    return finite | {"baselines": baselines}


def _commit() -> str:
    """The commit of the source; "-dirty" where more was changed than documents and results."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, timeout=10).stdout.strip()

    try:
        commit = git("rev-parse", "--short=7", "HEAD")
        changed = git("status", "--porcelain", "-uno", "--", "src", "benchmarks", ":!benchmarks/results", ":!*.md")
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return commit + ("-dirty" if commit and changed else "")


def _machine() -> str:
    """Processor, cores, threads and torch."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        found = re.search(r"model name\s*:\s*(.+)", info.read_text())
        name = found[1].strip() if found else name
    threads = torch.get_num_threads()
    return f"{name}, {os.cpu_count()} cores, {threads} thread{'s' * (threads > 1)}, torch {torch.__version__}"


# -------------------------------------------------------------------------------------------------- showing


def documents(system: str) -> list[Path]:
    """The documents that show a system's numbers: its CARD.md, and README.md where this is a checkout."""
    card = Path(str(import_module(f"percepta.systems.{system}").__file__)).with_name("CARD.md")
    return [path for path in (card, ROOT / "README.md") if path.is_file()]


def results(folder: Path | None = None) -> Callable[[str], Result | None]:
    """Finds "refer/evaluate" among the files of a folder; each is read once. None: there is no such file."""
    known: dict[str, Result | None] = {}

    def find(place: str) -> Result | None:
        if place not in known:
            path = (folder or RESULTS) / f"{place.replace('/', '-', 1)}.json"
            known[place] = read(path) if path.is_file() else None
        return known[place]

    return find


def fill(text: str, find: Callable[[str], Result | None]) -> Filled:
    """Writes the numbers of result files between the markers of a document; everything else stays.

    Args:
        text: the document.
        find: from "refer/evaluate" to the result; see `results`.

    Raises:
        InputError: a marker that is not one of those above, or without its end.
    """
    missing: list[str] = []
    by_hand: list[str] = []
    places: list[str] = []

    def replace(match: re.Match[str]) -> str:
        kind, what = match["kind"], match["what"]
        hand = _HAND.fullmatch(what)
        place = hand["rest"] if hand else what
        parts = _PLACE.fullmatch(place) if kind == "n" else re.fullmatch(f"(?P<file>{_FILE})", place)
        if parts is None:
            raise InputError(f"not a marker: {match[0][:120]}")
        places.append(parts["file"])
        result = find(parts["file"])
        if result is None:
            missing.append(place) if not hand else by_hand.append(parts["file"])
            return match[0]
        if kind == "n":
            new = result.number(parts["key"], parts["form"])
            if new is None:
                missing.append(place)
                return match[0]
        else:
            new = f"\n{result.text()}\n" if kind == "table" else result.source()
        return f"<!-- {kind} {place} -->{new}<!-- /{kind} -->"

    if halves := _HALF.findall(_MARKER.sub("", text)):
        raise InputError(f"a marker without its other half: {halves[0]}")
    filled = _MARKER.sub(replace, text)
    return Filled(filled, tuple(missing), tuple(dict.fromkeys(by_hand)), filled != text, tuple(dict.fromkeys(places)))


def fill_file(path: Path, find: Callable[[str], Result | None], *, write: bool = True) -> Filled:
    """`fill` of a file, which is written where that changes it; with `write` off, only read.

    Args:
        path: of the document.
        find: gives the result of "system/name", or None.
        write: False changes nothing.
    """
    try:
        filled = fill(path.read_text(encoding="utf-8"), find)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    if filled.changed and write:
        write_atomically(path, filled.text)
    return filled
