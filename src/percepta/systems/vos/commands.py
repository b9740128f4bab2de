"""The verbs of object following: `predict` for films, `evaluate`, which also scores and writes folders of masks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from rich.console import Console
from rich.markup import escape

from percepta import __main__ as general
from percepta import shell
from percepta.errors import InputError
from percepta.files import write_atomically

if TYPE_CHECKING:
    from percepta.media.frames import Frames
    from percepta.systems.vos.predict import Vos


@dataclass(frozen=True)
class Predict(shell.Which):
    """Follows marked objects through a film: masks, the film with the objects on it, and cut-outs with transparency."""

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="VIDEO|FOLDER|PATTERN")] = tyro.MISSING
    """A video, or a folder (or pattern) of pictures that are its frames."""
    mask: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """A mask picture of frame 0, or N=FILE of frame N: 0 is nothing, 1 to 254 are objects; black and white is object 1.
    Repeatable: further objects, or corrections."""
    box: tuple[float, float, float, float] | None = None
    """Instead of a mask: left, top, width and height of a box in pixels."""
    click: tuple[float, float] | None = None
    """Instead of a mask: x and y of a place on the object, in pixels. A box is better, and a drawn mask the best."""
    at: int = 0
    """The frame that the box or the click belongs to."""
    out: Path = Path("out/vos")
    """Folder of what is written."""
    cutout: tuple[str, ...] = ()
    """Also the objects cut out: webm (VP9 with transparency), mov (ProRes 4444, for editors), png (a folder)."""
    objects: tuple[int, ...] = ()
    """Which objects are cut out. Left out: all, together."""
    backwards: bool = True
    """--no-backwards leaves out the frames before the first mask."""
    overlay: bool = True
    """--no-overlay writes no film with the objects on it."""
    fps: float | None = None
    """Frames a second of a folder of pictures. Left out: 24."""
    resume: bool = True
    """Go on where a run into the same folder was stopped; --no-resume starts anew."""


def predict(options: Predict, screen: Console) -> int:
    """Follows the objects and writes everything; 1 where frames were left out.

    Raises:
        InputError: no mask, or more than one kind of it; what `writers.follow` raises.
    """
    from percepta.files import check_apart
    from percepta.media.frames import Frames
    from percepta.predictions import entry
    from percepta.systems.vos import writers

    kinds = {"webm": "cutout.webm", "mov": "cutout.mov", "png": "cutout"}
    if unknown := [kind for kind in options.cutout if kind not in kinds]:
        raise InputError(f"--cutout takes {', '.join(kinds)}, not {unknown[0]!r}")
    if [bool(options.mask), options.box is not None, options.click is not None].count(True) != 1:
        raise InputError(
            "what is to be followed? Give --mask first.png (or N=FILE for frame N), --box LEFT TOP WIDTH HEIGHT, or "
            "--click X Y"
        )
    begin = shell.check_out(options.out, screen, shell.inputs_of(options.source))
    frames = Frames.open(options.source, options.fps)
    masks = read_masks(options.mask) if options.mask else {}
    check_apart(options.out / writers.MASKS, masks.values())
    system: Vos = shell.load("vos", options)
    masks = masks or grown(options, frames, system)
    folder = options.out
    begin()
    with shell.progress_bar(screen, f"vos: {frames.name}") as bar:
        tell = lambda text, done, total: bar(done, total, text)  # noqa: E731
        found = writers.follow(
            system, frames, masks, folder, backwards=options.backwards, resume=options.resume, tell=tell
        )
        made = [folder / writers.ROWS]
        if options.overlay:
            made.append(writers.overlay(frames, found, folder / "overlay.mp4", tell))
        paths = [folder / kinds[kind] for kind in dict.fromkeys(options.cutout)]
        made += writers.cut_outs(frames, found, paths, ids=options.objects or None, tell=tell)
    drawing = folder / "overlay.mp4" if options.overlay else None
    rows = [entry(str(frames.where), found, drawing, folder / writers.ROWS)]
    shell.write_predictions(folder, "vos", system.session().weights, rows)
    for text in found.warnings[:SHOWN_WARNINGS]:
        screen.print(escape(f"note: {text}"), soft_wrap=True)
    if len(found.warnings) > SHOWN_WARNINGS:
        screen.print(f"and {len(found.warnings) - SHOWN_WARNINGS} more; all are in predictions.json")
    screen.print(escape(f"{frames.name}, {found.text}"), soft_wrap=True)
    if found.cuts:
        screen.print(escape(f"note: {found.cuts_text}: look whether it is the same thing after them"), soft_wrap=True)
    screen.print(escape(", ".join(str(path) for path in (folder / writers.MASKS, *made))), soft_wrap=True)
    return int(any("left out" in text for text in found.warnings))


SHOWN_WARNINGS = 5


def read_masks(words: Sequence[str]) -> dict[int, Any]:
    """["first.png", "30=later.png"] as {0: path, 30: path}.

    Raises:
        InputError: a frame has two masks, or there is no such file.
    """
    from percepta.files import check_regular

    out: dict[int, Any] = {}
    for word in words:
        number, equals, path = word.partition("=")
        frame, file = (int(number), path) if equals and number.isdigit() else (0, word)
        if frame in out:
            raise InputError(f"--mask: frame {frame} has two masks, {out[frame]} and {file}")
        out[frame] = check_regular(Path(file).expanduser())
    return out


def grown(options: Predict, frames: Frames, system: Vos) -> dict[int, Any]:
    """The mask that a box or a click stands for.

    Args:
        options: of the command.
        frames: the film.
        system: with its weights.

    Raises:
        InputError: there is no such frame.
    """
    from percepta.systems.vos import grow

    picture = next((picture for number, (_, picture) in enumerate(frames) if number == options.at), None)
    if picture is None:
        raise InputError(f"--at {options.at}: the film has no such frame")
    if options.box is not None:
        return {options.at: {1: grow.from_box(system, picture, options.box)}}
    assert options.click is not None, "one of the two is given"
    return {options.at: {1: grow.from_click(system, picture, options.click)}}


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
        return general.evaluate_network("vos", options, screen)
    if options.data is None or (options.results is not None and options.write is not None):
        raise InputError("--results DIR and --write DIR need --data DIR, and only one of them is possible at a time")
    return (
        _score(options, options.data, screen) if options.results is not None else _write(options, options.data, screen)
    )


def _score(options: Evaluate, data: Path, screen: Console) -> int:
    from percepta import report
    from percepta.systems.vos.evaluate import score_results
    from percepta.train import EXAMPLES

    assert options.results is not None  # `evaluate` looked
    with shell.progress_bar(screen, f"comparing {options.results} with {data}") as bar:
        found, missing = score_results(
            data, options.results, options.split, examples=EXAMPLES, progress=lambda done, total: bar(done, total, "")
        )
    shell.print_metrics(screen, f"{options.results} on {data}, split {options.split}", found.metrics)
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


COMMANDS = {"predict": (Predict, predict), "evaluate": (Evaluate, evaluate)}
