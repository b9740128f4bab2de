"""What every command of the shell is made of: options as dataclasses, errors, progress, a system with its weights.

`__main__` and the systems' commands.py stand on it. Nothing heavy is imported before it is needed: help comes at once.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_type_hints

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import percepta
from percepta.errors import InputError
from percepta.files import check_apart, matching

if TYPE_CHECKING:
    from percepta.metrics import Metric

T = TypeVar("T")


class UsageError(InputError):
    """The command line itself is wrong."""


@dataclass(frozen=True)
class Which:
    """Options that choose the model."""

    preset: str | None = None
    """Which of the system's presets, see `percepta list`. Left out: small, or what a checkpoint says."""
    weights: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """A checkpoint's path, or NAME=PATH for a part that starts from your file (clip=RN50.pt); repeatable."""
    device: str = "auto"
    """auto (cuda where there is one, else cpu) or a torch device such as cpu or cuda:1."""
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    """Arithmetic; left out: float32."""


def parse(kind: type[T], words: Sequence[str], prog: str, description: str | None = None) -> T:
    """Reads options into a dataclass. Wrong values end the program with tyro's explanation (exit code 2).

    Args:
        kind: a dataclass of options.
        words: the command line.
        prog: the command's name, for help.
        description: what it does, for help.

    Raises:
        UsageError: an option is unknown; names the nearest and the valid ones.
    """
    options, unknown = tyro.cli(kind, args=list(words), prog=prog, description=description, return_unknown_args=True)
    if unknown:
        word = unknown[0].partition("=")[0]
        valid = ["--" + name for name in option_names(kind)]
        what = "option" if word.startswith("-") else "argument"
        raise UsageError(
            f"unknown {what} {word!r}.{near(word, valid)} Valid: {' '.join(valid)}; `{prog} --help` explains them"
        )
    return options


def option_names(kind: Any, prefix: str = "") -> list[str]:
    """The options that tyro makes of a dataclass: "data", "train.batch-size"; not the positional ones."""
    hints = get_type_hints(kind, include_extras=True)
    names = []
    for item in fields(kind):
        hint = hints[item.name]
        plain = getattr(hint, "__origin__", hint) if hasattr(hint, "__metadata__") else hint
        if hasattr(hint, "__metadata__") and "Positional" in repr(hint.__metadata__).title():
            continue
        if is_dataclass(plain):
            flat = item.name in _FLAT and not prefix
            names += option_names(plain, prefix if flat else f"{prefix}{item.name.replace('_', '-')}.")
        else:
            names.append(prefix + item.name.replace("_", "-"))
    return names


_FLAT = ("options", "config")  # fields of the train command whose own fields are options without a prefix


def split_weights(words: Sequence[str]) -> tuple[Path | None, dict[str, Path]]:
    """["run/model.safetensors", "clip=RN50.pt"] as (checkpoint or None, {name: file}).

    Raises:
        UsageError: more than one checkpoint.
    """
    checkpoints, given = [], {}
    for word in words:
        name, equals, path = word.partition("=")
        if equals and "/" not in name and "\\" not in name and not Path(word).exists():
            given[name] = Path(path).expanduser()
        else:
            checkpoints.append(Path(word).expanduser())
    if len(checkpoints) > 1:
        raise UsageError(f"one checkpoint at a time, got {', '.join(map(str, checkpoints))}")
    return (checkpoints[0] if checkpoints else None), given


def words_of(options: Any, kind: type[Any] | None = None) -> list[str]:
    """The command line that gives some options: those that are not as they are when left out.

    Args:
        options: a dataclass of options.
        kind: a dataclass that `options` extends: only its own options; None: all.
    """
    words: list[str] = []
    for item in fields(kind or options):
        value, name = getattr(options, item.name), "--" + item.name.replace("_", "-")
        if value != item.default:
            several = value if isinstance(value, tuple) else (value,)
            words += [name] if value is True else [part for one in several for part in (name, str(one))]
    return words


def print_metrics(screen: Console, title: str, metrics: Mapping[str, Metric]) -> None:
    """A table of numbers with their intervals and baselines.

    Args:
        screen: where it is printed.
        title: stands above the table.
        metrics: {name: number}, a row each.
    """
    from percepta.report import metric_rows

    columns, rows = metric_rows(metrics)
    table = Table(title=title)
    whole = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
    narrow = sum(whole) + 3 * len(whole) + 1 > screen.width
    for index, (column, *cells) in enumerate(zip(columns, *rows, strict=True)):
        # where there is no room, the names get what the others leave: these break between their words
        word = max(len(word) for cell in (column, *cells) for word in cell.split())
        most = word if narrow and index else None
        table.add_column(column, justify="right" if index else "left", max_width=most, overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    screen.print(table)


def print_failed(screen: Console, failed: Sequence[tuple[str | Path, str]]) -> int:
    """A line for each input that failed, (which, why); returns the exit code: 1 where there are some."""
    for name, reason in failed:
        screen.print(f"[red]failed[/] {escape(f'{name}: {reason}')}", soft_wrap=True)
    return 1 if failed else 0


Command = tuple[type[Any], Callable[[Any, Console], int | None]]
"""A verb of a system's own: the dataclass of its options, and the function that gets them and the screen."""


def commands_of(system: str) -> Mapping[str, Command]:
    """{verb: its options and function}: what a system's commands.py offers; nothing where there is none."""
    name = f"percepta.systems.{system}.commands"
    return import_module(name).COMMANDS if find_spec(name) else {}


def near(word: str, known: Any) -> str:
    """The end of a message, " Did you mean X?"; empty where no name comes close."""
    # Without the dashes, which would make all options alike.
    names = {name.lstrip("-"): name for name in known}
    found = get_close_matches(word.lstrip("-"), list(names), 1, 0.6)
    return f" Did you mean {names[found[0]]}?" if found else ""


LINE_EVERY_S = 5.0  # between two lines of progress where there is no terminal


@contextlib.contextmanager
def progress_bar(screen: Console, text: str, shown: bool = True) -> Iterator[Callable[[int, int | None, str], None]]:
    """Progress as a function of (done, in all or None, note): a bar, or a line every few seconds without a terminal.

    Args:
        screen: where it is drawn.
        text: what is being done.
        shown: False draws nothing.
    """
    if not screen.is_terminal or not shown:
        yield _Lines(text).step if shown else lambda done, total, note: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=screen, transient=True) as progress:
        task = progress.add_task(escape(text), total=None, note="")
        yield lambda done, total, note: progress.update(task, completed=done, total=total, note=escape(note))


class _Lines:
    """Progress on standard error, a line every few seconds: for logs of runs that nobody watches."""

    def __init__(self, text: str) -> None:
        self.text, self.began = text, time.monotonic()
        self.last = self.began

    def step(self, done: int, total: int | None, note: str) -> None:
        now = time.monotonic()
        if now - self.last < LINE_EVERY_S:
            return
        self.last = now
        spent = now - self.began
        of = "" if total is None else f" of {total}, about {spent * (total - done) / max(done, 1):.0f} s left"
        line = f"{self.text}: {done}{of}{f', {note}' if note else ''}"
        print(line.encode("ascii", "replace").decode(), file=sys.stderr, flush=True)


def counted(count: int, noun: str) -> str:
    """ "1 picture", "2 pictures"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def check_out(folder: Path, screen: Console, inputs: Iterable[Path] = ()) -> Callable[[], None]:
    """Looks at a folder of results before anything is loaded; says where the next run would read it.

    Args:
        folder: of --out.
        screen: where is printed.
        inputs: files and folders that are read.

    Returns:
        What says, once, that an earlier run left results there: to be called when this one begins to write.

    Raises:
        UsageError: it is a file, or nothing can be written there.
        InputError: it is a folder of the inputs, where results could replace them.
    """
    above = next((path for path in (folder, *folder.absolute().parents) if path.exists()), Path())
    if not os.access(above, os.W_OK):
        raise UsageError(f"--out {folder}: {above} cannot be written to; give another folder")
    inputs = list(inputs)
    check_apart(folder, inputs)
    whole = folder.resolve()
    if above := next((path for path in inputs if path.is_dir() and path.resolve() in whole.parents), None):
        note = f"note: --out {folder} is inside of {above}: a later run that reads sub-folders would take these results"
        screen.print(escape(f"{note} as input"), soft_wrap=True)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--out {folder} is a file; give a folder")
    notes = []
    if (folder / "predictions.json").is_file():
        notes.append(f"note: {folder} has results of an earlier run; files of the same name are replaced")

    def begin() -> None:
        while notes:
            screen.print(escape(notes.pop()), soft_wrap=True)

    return begin


def inputs_of(source: str | Path | Sequence[Path]) -> list[Path]:
    """The folders and files that a source names: of a pattern, all that fit; of a camera, none."""
    if isinstance(source, str):
        path = Path(source).expanduser()
        return [path] if path.exists() else [] if source.startswith("camera:") else matching(path)
    return [source] if isinstance(source, Path) else list(source)


def load(system: str, options: Which) -> Any:
    """The system with the weights that the options name."""
    check_device(options.device)
    checkpoint, given = split_weights(options.weights)
    preset_of(system, options.preset or "small")
    dtype = getattr(import_module("torch"), options.dtype) if options.dtype else None
    rest = {"device": options.device, "dtype": dtype}
    if checkpoint is None:
        return percepta.load(system, preset=options.preset, weights=given or None, **rest)
    from percepta.weights import checkpoint_file

    file = checkpoint_file(checkpoint, system)
    if options.preset is not None:
        return percepta.load(system, preset=options.preset, weights=file, **rest)
    try:
        loaded = percepta.load(file, weights=given or None, **rest)
    except InputError as error:
        raise InputError(f"{error} (a published checkpoint needs --preset as well)") from error
    if loaded.name != system:
        raise UsageError(f"{checkpoint} holds {loaded.name}, not {system}")
    return loaded


def write_predictions(
    out: Path, system: str, weights: str, rows: Sequence[Mapping[str, Any]], failed: Mapping[str, str] | None = None
) -> Path:
    """predictions.json for a system whose `predict` is its own command.

    Args:
        out: the folder.
        system: its name.
        weights: hash of the weights.
        rows: what `predictions.entry` made.
        failed: {source: why} of those without an answer.
    """
    from percepta.predictions import write_table

    return write_table(out, rows, system=system, version=percepta.__version__, weights=weights, failed=failed)


def preset_of(system: str, name: str) -> Any:
    """The Config of a preset."""
    presets = import_module(f"percepta.systems.{system}").PRESETS
    if name not in presets:
        raise UsageError(f"{system} has no preset {name!r}.{near(name, presets)} Presets: {', '.join(presets)}")
    return presets[name]


def check_device(name: str) -> None:
    """Raises UsageError where torch has no such device; names those that there are."""
    from percepta.checkpoint import choose_device

    try:
        choose_device(name)
    except InputError as error:
        raise UsageError(f"--device: {error}") from None
