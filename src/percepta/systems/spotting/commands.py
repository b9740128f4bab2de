"""The verbs of action spotting: `predict` and `features` of videos, `evaluate` of anybody's predictions, `world`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from percepta import __main__ as general
from percepta import shell
from percepta.errors import InputError
from percepta.files import write_atomically

if TYPE_CHECKING:
    from percepta.systems.spotting.predict import Result


@dataclass(frozen=True)
class Predict(shell.Which):
    """Spots what happens in videos or features of halves: a page, CSV, results as SoccerNet has them; maybe clips."""

    source: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="VIDEO|FEATURES")] = tyro.MISSING
    """A video or a .npy of features: one half, or a match whose break is found; two are the halves of one match."""
    out: Path = Path("out/spotting")
    """Folder of what is written."""
    score: float = 0.3
    """From which score on a moment is shown, listed and cut; results.zip has all."""
    clips: bool = False
    """Also a piece of the video around each moment, without encoding it again."""
    before: float = 8.0
    """Seconds of a clip before the moment."""
    after: float = 4.0
    """Seconds of a clip after the moment."""
    clock: tuple[float, ...] = ()
    """Seconds on the clock of the match where each half begins, for page and table; left out: 0, then 2700."""
    break_s: tuple[float, float] | None = None
    """Start and end of the break (s), for a match in one file; left out: it is looked for."""
    name: str = "match"
    """Name of the game in results_spotting.json."""


def predict(options: Predict, screen: Console) -> int:
    """Spots, and writes everything.

    Raises:
        InputError: more than two halves; clips of features; no break in a long video.
    """
    if not 1 <= len(options.source) <= 2:
        raise InputError("a game has one or two halves; give one or two files")
    if options.clips and any(path.suffix == ".npy" for path in options.source):
        raise InputError("--clips needs videos; features have no pictures")
    if min(options.before, options.after) < 0 or options.before + options.after <= 0:
        raise InputError("--before and --after are seconds of 0 or more, and together more than 0")
    if not 0 <= options.score <= 1:
        raise InputError(f"--score is 0 to 1, got {options.score:g}")
    if list(options.clock) != sorted(options.clock):
        raise InputError(f"--clock rises from half to half, got {' '.join(f'{one:g}' for one in options.clock)}")
    from percepta.datasets.soccer_results import write
    from percepta.datasets.soccer_video import check_break
    from percepta.media import cut, video
    from percepta.predictions import entry

    check_break(options.break_s)
    begin = shell.check_out(options.out, screen, options.source)
    system = shell.load("spotting", options)
    pieces_of: dict[Path, list[tuple[float, float, str]]] = {path: [] for path in options.source}
    found = _spotted(system, options, screen)
    begin()
    rows = []
    for half in found:
        kept = half.result.above(options.score)
        rows.append(entry(str(half.path), kept, kept.save(options.out / f"half-{half.number}.png"), None))
        screen.print(escape(f"{half.path.name}, half {half.number}: {kept.text}"), soft_wrap=True)
        if half.result.warning:
            screen.print(f"[yellow]note:[/] {escape(half.result.warning)}", soft_wrap=True)
        for i, spot in enumerate(kept.spots, 1):
            time_s = spot.time_s + half.start_s
            end = min(time_s + options.after, half.ends_s)
            piece = max(0.0, time_s - options.before), end, f"{spot.label} {spot.score:.0%}"
            pieces_of[half.path].append(piece)
            if options.clips:
                file = options.out / "clips" / f"half-{half.number}-{i:03d}-{_word(spot.label)}{half.path.suffix}"
                early = cut.cut(half.path, piece[0], piece[1], file)
                screen.print(escape(f"{file}: begins {early:.2f} s before {piece[0]:.2f} s"), soft_wrap=True)
    for number, (path, pieces) in enumerate(pieces_of.items(), 1):
        if path.suffix != ".npy":
            cut.write_edl(options.out / f"video-{number}.edl", path.name, pieces, video.info(path).fps or 25.0)
    tables = [half.result.above(options.score).to_csv(half.clock_s).split("\n", 1) for half in found]
    write_atomically(options.out / "spots.csv", f"{tables[0][0]}\n{''.join(lines for _, lines in tables)}")
    spots = [spot for half in found for spot in half.result.spots]
    write(options.out / "results", {options.name: spots})
    write(options.out / "results.zip", {options.name: spots})
    _page(options, found).write(options.out / "report.html")
    shell.write_predictions(options.out, "spotting", found[0].result.weights, rows)
    screen.print(escape(f"{options.out / 'report.html'}, spots.csv, results.zip"), soft_wrap=True)
    return 0


@dataclass(frozen=True)
class _Half:
    """A half, and what was found: its file, where it begins there, what the clock shows then, where the file ends."""

    number: int
    path: Path
    start_s: float
    clock_s: float
    ends_s: float
    result: Result


def _spotted(system: Any, options: Predict, screen: Console) -> list[_Half]:
    from percepta.datasets.soccer_video import LONGEST_HALF_S, parts
    from percepta.media import video

    clock = dict(enumerate(options.clock, 1))
    results: list[tuple[int, Path, float, Any]] = []
    files = []
    for number, path in enumerate(options.source, 1):
        began = time.monotonic()
        if path.suffix != ".npy":
            seconds = system.estimate_s(path)
            text = f"{seconds / 3600:.1f} h" if seconds > 600 else f"{seconds / 60:.1f} min"
            screen.print(escape(f"{path.name}: the network needs about {text}; decoding comes to it"))
        with shell.progress_bar(screen, f"spotting: {path.name}") as bar:
            tell = lambda done, total, bar=bar: bar(int(done), int(total) or None, "s")  # noqa: E731
            if system.config.features == "frames":
                if options.break_s is not None or video.info(path).duration_s > LONGEST_HALF_S:
                    raise InputError(f"{path.name}: networks that look at frames take one half a file; cut it first")
                results.append((number, path, 0.0, system.predict(path, half=number, progress=tell)))
            else:
                files.append((path, system.encoded(path, cache=options.out / "features", progress=tell)[0]))
        screen.print(escape(f"{path.name}: looked at in {time.monotonic() - began:.0f} s"), soft_wrap=True)
    for part in parts(files, options.break_s):
        result = replace(system.predict(part.features, half=part.half), source=str(part.path))
        results.append((part.half, part.path, float(part.start_s), result))
        if part.start_s:
            screen.print(escape(f"{part.path.name}: half {part.half} begins at {part.start_s:.1f} s"), soft_wrap=True)
    ends = {path: float("inf") if path.suffix == ".npy" else video.info(path).duration_s for path in options.source}
    return [_Half(n, path, start, clock.get(n, 2700.0 * (n - 1)), ends[path], result)
            for n, path, start, result in results]  # fmt: skip


def _word(text: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in text).lower()


def _page(options: Predict, found: Sequence[_Half]) -> Any:
    """Lines of time, and a picture of each moment."""
    from PIL import Image

    from percepta import report
    from percepta.datasets.soccer import game_time
    from percepta.media import video

    page = report.Page(f"Spotting: {options.name}")
    for half in found:
        kept, path = half.result.above(options.score), half.path
        page.add(report.Heading(f"Half {half.number}: {path.name}"), report.Text(f"{kept.text}. {half.result.warning}"),
                 report.Gallery([(kept.draw(), "")]))  # fmt: skip
        if path.suffix != ".npy" and kept.spots:
            inside = kept.spots
            last = half.result.duration_s - 0.1
            shown = video.frames(path, [min(s.time_s, last) + half.start_s for s in inside])
            texts = [f"{game_time(half.number, s.time_s + half.clock_s)[4:]} {s.label} {s.score:.0%}" for s in inside]
            page.add(report.Gallery([(Image.fromarray(f).reduce(max(1, f.shape[1] // 240)), t)
                                     for f, t in zip(shown, texts, strict=True)]))  # fmt: skip
    return page


@dataclass(frozen=True)
class Features:
    """Makes a game to train on of videos: features of their halves, beside which labels.csv belongs."""

    source: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="VIDEO")] = tyro.MISSING
    """A video of one half, or of a match whose break is found; two are the halves of one match."""
    out: Path = tyro.MISSING
    """Folder of the game, such as games/train/derby."""
    sound: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Also how loud it is: features lite0_sound instead of lite0."""
    break_s: tuple[float, float] | None = None
    """Start and end of the break (s), for a match in one file; left out: it is looked for."""


def features(options: Features, screen: Console) -> int:
    """Writes 1_lite0.npy and 2_lite0.npy.

    Raises:
        InputError: more than two files; no break in a long video.
    """
    if not 1 <= len(options.source) <= 2:
        raise InputError("a game has one or two halves; give one or two files")
    import numpy as np

    from percepta.datasets.soccer_video import check_break, encoded, parts
    from percepta.files import writing

    check_break(options.break_s)
    encode = lite0()
    name = "lite0_sound" if options.sound else "lite0"
    files = []
    for path in options.source:
        with shell.progress_bar(screen, f"features: {path.name}") as bar:
            tell = lambda done, total, bar=bar: bar(int(done), int(total) or None, "s")  # noqa: E731
            files.append((path, encoded(path, encode, with_sound=options.sound, progress=tell)))
    options.out.mkdir(parents=True, exist_ok=True)
    for part in parts(files, options.break_s):
        target = options.out / f"{part.half}_{name}.npy"
        with writing(target) as file:
            np.save(file, part.features.astype(np.float16))
        screen.print(escape(f"{target}: {len(part.features) / 2:.0f} s, from {part.start_s:.1f} s of {part.path.name}"))
    return 0


@dataclass(frozen=True)
class Evaluate(general.Evaluate):
    """Evaluates spotting on games; --predictions scores anybody's results as SoccerNet's evaluator does."""

    predictions: Path | None = None
    """A folder or zip with GAME/results_spotting.json: scored against the labels of --data, without any network."""


def evaluate(options: Evaluate, screen: Console) -> int:
    """Numbers of the network, or of somebody's predictions.

    Raises:
        InputError: --predictions without --data; no game in common.
    """
    if options.predictions is None:
        return general.evaluate_network("spotting", options, screen)
    if options.data is None:
        raise InputError("--predictions DIR needs --data DIR with the labels of its games (or a .jsonl of labels)")
    from percepta.datasets import soccer, soccer_results
    from percepta.metrics.spotting import TOLERANCES_S, average_map

    found = soccer_results.read(options.predictions)
    games = [game for game in soccer.read(Path(options.data), []) if game.name in found]
    if not games:
        raise InputError(f"{options.predictions}: none of its {len(found)} games has labels in {options.data}")
    actions, said = soccer_results.paired(games, found, soccer.CLASSES)
    title = f"{options.predictions}: {shell.counted(len(games), 'game')} as the official evaluator counts"
    table = Table(title=title)
    for column in ("average-mAP", "all", "visible", "not shown"):
        table.add_column(column, justify="left" if column == "average-mAP" else "right")
    content: dict[str, Any] = {"games": len(games), "left out": sorted(set(found) - {game.name for game in games})}
    for name, tolerances in TOLERANCES_S.items():
        result = average_map(actions, said, classes=len(soccer.CLASSES), tolerances_s=tolerances)
        table.add_row(name, *(f"{v:.4f}" for v in (result.value, result.visible, result.unshown)))
        content[name] = {
            key: value if isinstance(value, float) else dict(zip(soccer.CLASSES, value.tolist(), strict=True))
            for key, value in asdict(result).items()
        }
    screen.print(table)
    write_atomically(options.out / "metrics.json", json.dumps(content, indent=1) + "\n")
    screen.print(f"{options.out / 'metrics.json'} has the classes", soft_wrap=True)
    return 0


@dataclass(frozen=True)
class World:
    """Renders games and writes their features and labels in SoccerNet's layout, for spotting and replay."""

    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")] = tyro.MISSING
    """Folder; games go to DIR/train, DIR/val and DIR/test. Games that are there are left as they are."""
    train: int = 14
    """Games for training."""
    val: int = 2
    """Games to choose settings by."""
    test: int = 5
    """Games for the reported numbers."""
    processes: int = 0
    """Games that are rendered at a time, with Ray; 0: one after the other, here."""
    part: tuple[int, int] = (0, 1)
    """(i, n): only every n-th game, beginning with the i-th; for several commands at once without Ray."""


def world(options: World, screen: Console) -> int:
    """Renders what is missing.

    Raises:
        InputError: `part` is none.
    """
    from percepta import scale
    from percepta.worlds.pitch.recording import FIRST

    i, n = options.part
    if not 0 <= i < n:
        raise InputError(f"--part is I N with 0 <= I < N, got {i} {n}")
    counts = {"test": options.test, "val": options.val, "train": options.train}
    jobs = [(options.out, f"{split}/game-{k:03d}", FIRST[split] + k) for split, m in counts.items() for k in range(m)]
    jobs = jobs[i::n]
    with shell.progress_bar(screen, f"rendering {shell.counted(len(jobs), 'game')}") as bar:
        for done, folder in enumerate(scale.stream(_record, jobs, processes=options.processes), 1):
            bar(done, len(jobs), folder.name)
    screen.print(f"{options.out}: {shell.counted(len(jobs), 'game')}", soft_wrap=True)
    return 0


def _record(job: tuple[Path, str, int]) -> Path:
    from percepta.nn.spotting import of_pictures
    from percepta.worlds.pitch.recording import record

    out, name, seed = job
    return record(out, name, seed, of_pictures(lite0()), "lite0")


def lite0() -> Callable[[Any], Any]:
    """What makes features of pictures (b 3 h w, RGB 0..1): the frozen encoder that comes with its wheel."""
    import torch

    from percepta import pretrained
    from percepta.nn.spotting import FrameEncoder

    holder = torch.nn.Module()
    holder.image = FrameEncoder().eval()
    pretrained.fill(holder, {"image": "efficientnet-lite0"})
    return torch.inference_mode()(holder.image.frames)  # type: ignore[operator]


COMMANDS = {"predict": (Predict, predict), "evaluate": (Evaluate, evaluate), "world": (World, world),
            "features": (Features, features)}  # fmt: skip
