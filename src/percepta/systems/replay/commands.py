"""The verbs of replay grounding: `predict` for videos."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from rich.console import Console
from rich.markup import escape

from percepta import shell
from percepta.errors import InputError
from percepta.files import write_atomically

if TYPE_CHECKING:
    from percepta.systems.replay.predict import Result


@dataclass(frozen=True)
class Predict(shell.Which):
    """Finds the replays of videos or features of halves, and what they show: a page, CSV, replay JSON; maybe clips."""

    source: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="VIDEO|FEATURES")] = tyro.MISSING
    """A video or a .npy of features; two are the halves of one game."""
    out: Path = Path("out/replay")
    """Folder of what is written."""
    clips: bool = False
    """Also two pieces for each replay, without encoding them again: the replay, and what it shows."""
    before: float = 8.0
    """Seconds of a clip before the action."""
    after: float = 4.0
    """Seconds of a clip after the action."""
    name: str = "match"
    """Name of the game in Detection-replays.json."""


def predict(options: Predict, screen: Console) -> int:
    """Finds, grounds, and writes everything.

    Raises:
        InputError: more than two halves; clips of features.
    """
    if not 1 <= len(options.source) <= 2:
        raise InputError("a game has one or two halves; give one or two files")
    if options.clips and any(path.suffix == ".npy" for path in options.source):
        raise InputError("--clips needs videos; features have no pictures")
    from percepta.datasets.soccer_results import write_groundings
    from percepta.media import cut, video
    from percepta.predictions import entry

    system = shell.load("replay", options)
    shell.check_out(options.out, screen)
    results: list[Result] = []
    rows = []
    for half, path in enumerate(options.source, 1):
        with shell.progress_bar(screen, f"replay: {path.name}") as bar:
            tell = lambda done, total, bar=bar: bar(int(done), int(total) or None, "s")  # noqa: E731
            result = system.predict(path, half=half, cache=options.out / "features", progress=tell)
        results.append(result)
        rows.append(entry(str(path), result, result.save(options.out / f"half-{half}.png"), None))
        screen.print(escape(f"{path.name}: {result.text}"), soft_wrap=True)
        if result.warning:
            screen.print(f"[yellow]note:[/] {escape(result.warning)}", soft_wrap=True)
        if path.suffix == ".npy":
            continue
        pieces = [(r.start_s, r.end_s, f"replay {i}") for i, r in enumerate(result.replays, 1)]
        pieces += [(max(0.0, r.times_s[0] - options.before), r.times_s[0] + options.after, f"action of replay {i}")
                   for i, r in enumerate(result.replays, 1) if r.times_s]  # fmt: skip
        cut.write_edl(options.out / f"half-{half}.edl", path.name, pieces, video.info(path).fps or 25.0)
        for start, end, note in pieces if options.clips else []:
            file = options.out / "clips" / f"half-{half}-{note.replace(' ', '-')}{path.suffix}"
            early = cut.cut(path, start, end, file)
            screen.print(escape(f"{file}: begins {early:.2f} s before {start:.2f} s"), soft_wrap=True)
    tables = [result.to_csv().split("\n", 1) for result in results]
    write_atomically(options.out / "replays.csv", f"{tables[0][0]}\n{''.join(lines for _, lines in tables)}")
    found = [replay for result in results for replay in result.replays]
    seconds = results[0].seconds, results[1].seconds if len(results) > 1 else 0.0
    write_groundings(options.out / "results.zip", {options.name: (found, seconds)})
    _page(options, results).write(options.out / "report.html")
    shell.write_predictions(options.out, "replay", results[0].weights, rows)
    screen.print(escape(f"{options.out / 'report.html'}, replays.csv, results.zip"), soft_wrap=True)
    return 0


def _page(options: Predict, results: list[Result]) -> Any:
    """Lines of time, and for each replay a picture of it beside one of what it shows."""
    from PIL import Image

    from percepta import report
    from percepta.media import video

    page = report.Page(f"Replays: {options.name}")
    for half, (path, result) in enumerate(zip(options.source, results, strict=True), 1):
        page.add(report.Heading(f"Half {half}: {path.name}"), report.Text(result.warning or result.text),
                 report.Gallery([(result.draw(), "")]))  # fmt: skip
        linked = [r for r in result.replays if r.times_s]
        if path.suffix == ".npy" or not linked:
            continue
        times = [t for r in linked for t in ((r.start_s + r.end_s) / 2, r.times_s[0])]
        notes = [n for r in linked for n in (f"replay at {r.start_s:.1f} s", f"shows {r.times_s[0]:.1f} s?")]
        pictures = [Image.fromarray(f).reduce(max(1, f.shape[1] // 240)) for f in video.frames(path, times)]
        page.add(report.Gallery(list(zip(pictures, notes, strict=True))))
    return page


COMMANDS = {"predict": (Predict, predict)}
