"""The verbs of replay grounding: `predict` for videos, `evaluate` for anybody's predictions."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
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
    from percepta.datasets.soccer_video import Part
    from percepta.systems.replay.predict import Result


@dataclass(frozen=True)
class Predict(shell.Which):
    """Finds the replays of videos or features of halves, and what they show: a page, CSV, replay JSON; maybe clips."""

    source: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="VIDEO|FEATURES")] = tyro.MISSING
    """A video or a .npy of features: one half, or a match whose break is found; two are the halves of one match."""
    out: Path = Path("out/replay")
    """Folder of what is written."""
    clips: bool = False
    """Also two pieces for each replay, without encoding them again: the replay, and what it shows."""
    before: float = 8.0
    """Seconds of a clip before the action."""
    after: float = 4.0
    """Seconds of a clip after the action."""
    break_s: tuple[float, float] | None = None
    """Start and end of the break (s), for a match in one file; left out: it is looked for."""
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
    from percepta.datasets.soccer_video import check_break, parts
    from percepta.media import cut, video
    from percepta.predictions import entry

    check_break(options.break_s)
    begin = shell.check_out(options.out, screen, options.source)
    system = shell.load("replay", options)
    files = []
    for path in options.source:
        with shell.progress_bar(screen, f"replay: {path.name}") as bar:
            tell = lambda done, total, bar=bar: bar(int(done), int(total) or None, "s")  # noqa: E731
            files.append((path, system.encoded(path, cache=options.out / "features", progress=tell)[0]))
    halves = parts(files, options.break_s)
    results: list[Result] = [replace(system.predict(part.features, half=part.half), source=str(part.path))
                             for part in halves]  # fmt: skip
    begin()
    rows = []
    ends = {path: float("inf") if path.suffix == ".npy" else video.info(path).duration_s for path in options.source}
    pieces_of: dict[Path, list[tuple[float, float, str]]] = {path: [] for path in options.source}
    for part, result in zip(halves, results, strict=True):
        rows.append(entry(str(part.path), result, result.save(options.out / f"half-{part.half}.png"), None))
        screen.print(escape(f"{part.path.name}, half {part.half}: {result.text}"), soft_wrap=True)
        if result.warning:
            screen.print(f"[yellow]note:[/] {escape(result.warning)}", soft_wrap=True)
        for i, one in enumerate(result.replays, 1):
            half_s = float(part.start_s)
            pieces = [(half_s + one.start_s, half_s + one.end_s, f"half {part.half} replay {i}")]
            if one.times_s:
                time_s = half_s + one.times_s[0]
                note = f"half {part.half} action of replay {i}"
                end = min(time_s + options.after, ends[part.path])
                pieces.append((max(0.0, time_s - options.before), end, note))
            pieces_of[part.path] += pieces
            for start, end, note in pieces if options.clips else []:
                file = options.out / "clips" / f"{note.replace(' ', '-')}{part.path.suffix}"
                early = cut.cut(part.path, start, end, file)
                screen.print(escape(f"{file}: begins {early:.2f} s before {start:.2f} s"), soft_wrap=True)
    for number, (path, pieces) in enumerate(pieces_of.items(), 1):
        if path.suffix != ".npy":
            cut.write_edl(options.out / f"video-{number}.edl", path.name, pieces, video.info(path).fps or 25.0)
    tables = [result.to_csv().split("\n", 1) for result in results]
    write_atomically(options.out / "replays.csv", f"{tables[0][0]}\n{''.join(lines for _, lines in tables)}")
    found = [replay for result in results for replay in result.replays]
    seconds = results[0].duration_s, results[1].duration_s if len(results) > 1 else 0.0
    write_groundings(options.out / "results.zip", {options.name: (found, seconds)})
    _page(options, halves, results).write(options.out / "report.html")
    shell.write_predictions(options.out, "replay", results[0].weights, rows)
    screen.print(escape(f"{options.out / 'report.html'}, replays.csv, results.zip"), soft_wrap=True)
    return 0


def _page(options: Predict, halves: list[Part], results: list[Result]) -> Any:
    """Lines of time, and for each replay a picture of it beside one of what it shows."""
    from PIL import Image

    from percepta import report
    from percepta.media import video

    page = report.Page(f"Replays: {options.name}")
    for part, result in zip(halves, results, strict=True):
        page.add(report.Heading(f"Half {part.half}: {part.path.name}"), report.Text(f"{result.text}. {result.warning}"),
                 report.Gallery([(result.draw(), "")]))  # fmt: skip
        linked = [r for r in result.replays if r.times_s]
        if part.path.suffix == ".npy" or not linked:
            continue
        times = [part.start_s + t for r in linked for t in ((r.start_s + r.end_s) / 2, r.times_s[0])]
        notes = [n for r in linked for n in (f"replay at {r.start_s:.1f} s", f"shows {r.times_s[0]:.1f} s?")]
        pictures = [Image.fromarray(f).reduce(max(1, f.shape[1] // 240)) for f in video.frames(part.path, times)]
        page.add(report.Gallery(list(zip(pictures, notes, strict=True))))
    return page


@dataclass(frozen=True)
class Evaluate(general.Evaluate):
    """Evaluates grounding on games; --predictions scores anybody's results."""

    predictions: Path | None = None
    """A folder or zip with GAME/Detection-replays.json: scored against the labels of --data, without any network."""
    official: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """With --predictions: as the evaluator that SoccerNet ships counts, with its mistakes (see docs/replay.md)."""


def evaluate(options: Evaluate, screen: Console) -> int:
    """Numbers of the network, or of somebody's predictions.

    Raises:
        InputError: --predictions without --data; no game in common; no link in the labels.
    """
    if options.predictions is None:
        return general.evaluate_network("replay", options, screen)
    if options.data is None:
        raise InputError("--predictions DIR needs --data DIR with the labels of its games")
    from percepta.datasets import soccer, soccer_results
    from percepta.metrics.spotting import OFFICIAL, TOLERANCES_S, average_ap

    rules = OFFICIAL if options.official else None
    found = soccer_results.read_groundings(options.predictions)
    games = [game for game in soccer.read(Path(options.data), []) if game.name in found]
    if not games:
        raise InputError(f"{options.predictions}: none of its {len(found)} games has labels in {options.data}")
    pairs = [one for game in games for one in soccer_results.paired_replays(game.replays, found[game.name], rules)]
    linked = sum(one.action_s is not None for one in pairs)
    if not linked:
        raise InputError(f"{options.data}: no replay is linked to its action, so nothing can be scored")
    content: dict[str, Any] = {"games": len(games), "replays": linked, "official": options.official}
    for name, tolerances in TOLERANCES_S.items():
        content[name] = average_ap(pairs, tolerances_s=tolerances, rules=rules)
        screen.print(
            f"average-AP {name}: {content[name]:.4f} ({linked} replays of {shell.counted(len(games), 'game')})"
        )
    write_atomically(options.out / "metrics.json", json.dumps(content, indent=1) + "\n")
    return 0


COMMANDS = {"predict": (Predict, predict), "evaluate": (Evaluate, evaluate)}
