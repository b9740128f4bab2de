"""Verbs of a driver's activities.

percepta predict driver FOLDER [--calibrate]       a drive (three videos, or one), or all drives of a folder of AI City
percepta driver drives --out BANK                  drives of the in-cabin world, seen once, to train on
percepta driver features FOLDER --out BANK         the same of a folder of AI City with its tables
percepta evaluate driver --predictions F --truth T --video-ids V     scores anybody's submission
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console
from rich.markup import escape

from percepta import __main__ as general
from percepta import shell
from percepta.errors import InputError, MissingFileError, one_line

QUIET_S = 60.0  # what --calibrate takes as driving and nothing else


@dataclass(frozen=True)
class Predict(shell.Which):
    """What a driver does when: a timeline of each drive, with JSON and CSV beside it, and a page of all."""

    input: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER|VIDEO")] = tyro.MISSING
    """Three videos of a drive, whose names begin with the view; a folder of AI City (A1, A2); or one video."""
    out: Path = Path("out/driver")
    """Folder of what is written."""
    view: str | None = None
    """Of a single video whose name says no view."""
    calibrate: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Take what is normal for new cameras from the first minute, in which nothing but driving happens."""
    video_ids: Path | None = None
    """The challenge's video_ids.csv: also write submission.txt."""


def predict(options: Predict, screen: Console) -> int:
    """Answers for every drive; 1 where some failed."""
    from percepta.datasets import aicity, aicity_drives
    from percepta.files import write_atomically
    from percepta.report import Gallery, Page, Table

    path = options.input
    if not path.exists():
        raise MissingFileError(f"{path}: no such file or folder")
    begin = shell.check_out(options.out, screen, [path])
    system = shell.load("driver", options)
    begin()
    if path.is_file():
        named = aicity.parse_name(path.name)
        view = options.view or (named.view if named else aicity.view_of(path.stem)) or system.config.views[0]
        drives = {named.recording if named else path.stem: {view: path}}
    else:
        found = aicity_drives.read(path)
        drives = found.videos
        for problem in (x for x in found.problems if x.file.suffix.lower() in aicity_drives.VIDEOS):
            screen.print(f"[yellow]left out[/] {escape(str(problem))}", soft_wrap=True)
        if not drives:
            raise InputError(f"{path}: no videos; looked for {aicity_drives.FILES}")
    ids = aicity.read_video_ids(options.video_ids) if options.video_ids else {}
    by_drive = {names[0].recording: number for number, names in ids.items()}
    failed, drawn, rows, answers = [], [], [], {}
    lines = ["name,class,label,start_s,end_s,score"]
    with shell.progress_bar(screen, f"driver: {shell.counted(len(drives), 'drive')}") as bar:
        for i, (name, views) in enumerate(drives.items()):
            try:
                result = system.predict(dict(views), quiet_s=QUIET_S if options.calibrate else 0.0, name=name)
                where = result.save(options.out / f"{name}.png")
                screen.print(escape(f"{where}: {result.text}"), soft_wrap=True)
                for late, seconds in result.offset_s.items():
                    if seconds:
                        screen.print(f"{name}: {late} began {seconds:+.1f} s later", soft_wrap=True)
                for text in result.warnings:
                    screen.print(f"[yellow]note:[/] {escape(f'{name}: {text}')}", soft_wrap=True)
                if options.calibrate and result.duration_s < 2 * QUIET_S:
                    text = f"--calibrate takes the first {QUIET_S:g} s as nothing but driving; the drive is short"
                    screen.print(f"[yellow]note:[/] {escape(f'{name}: {text}')}", soft_wrap=True)
                drawn.append((result.draw(), name))
                lines += result.to_csv().splitlines()[1:]
                rows += [
                    [name, f"{x.start_s:.1f}", f"{x.end_s:.1f}", result.labels[x.label], f"{x.score:.2f}"]
                    for x in result.spans
                ]
                if name in by_drive:
                    answers[by_drive[name]] = [(x.label, x.start_s, x.end_s) for x in result.spans]
            except (OSError, ValueError) as error:
                if len(drives) == 1:
                    raise
                failed.append((name, one_line(error)))
            bar(i + 1, len(drives), name)
    page = Page("Driver").add(Gallery(drawn), Table(["drive", "start, s", "end, s", "activity", "confidence"], rows))
    screen.print(f"{write_atomically(options.out / 'spans.csv', chr(10).join(lines) + chr(10))}")
    screen.print(f"{page.write(options.out / 'report.html')}")
    if options.video_ids is not None:
        where = aicity.write_submission(options.out / "submission.txt", answers)
        screen.print(f"{where}: {shell.counted(len(answers), 'drive')}")
        if lacking := [str(number) for number in ids if number not in answers]:
            screen.print(f"[yellow]no answer[/] for video_id {', '.join(lacking)}", soft_wrap=True)
    return shell.print_failed(screen, failed)


@dataclass(frozen=True)
class MakeDrives:
    """Draws drives of the in-cabin world, sees every frame once and keeps that as a bank; goes on where it stopped."""

    out: Path = Path("out/drives")
    """Folder of the bank."""
    count: int = 48
    """How many drives; of eight, six train, one is for choices and one for the test."""
    pace: float = 0.5
    """Multiplies all durations."""


def drives(options: MakeDrives, screen: Console) -> int:
    """Writes the bank."""
    from percepta.systems.driver import bank

    model = _encoder()
    with shell.progress_bar(screen, "views") as bar:
        count = bank.drives(model, options.out, options.count, options.pace, lambda done, n: bar(done, n, ""))
    screen.print(f"{options.out}: {count} drives; now: percepta train driver --data {options.out}")
    return 0


@dataclass(frozen=True)
class Features:
    """Sees every frame of a folder of AI City with its tables once, and keeps that as a bank to train on."""

    input: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")] = tyro.MISSING
    """A1, or a folder of one's own in its layout."""
    out: Path = Path("out/bank")
    """Folder of the bank."""
    year: Literal[2022, 2023] = 2023
    """Of the classes: 18 in 2022, 16 in 2023 and 2024."""


def features(options: Features, screen: Console) -> int:
    """Writes the bank; 1 where some drives failed."""
    from percepta.datasets import aicity, aicity_drives
    from percepta.systems.driver import bank
    from percepta.systems.driver.features import of_video

    labels = aicity.LABELS_2022 if options.year == 2022 else aicity.LABELS_2023
    found = aicity_drives.read(options.input)
    model, entries, failed = _encoder(), [], []
    options.out.mkdir(parents=True, exist_ok=True)
    users = sorted({name.partition("_")[0] for name in found.videos})
    with shell.progress_bar(screen, shell.counted(len(found.videos), "drive")) as bar:
        for i, (name, views) in enumerate(found.videos.items()):
            try:
                if odd := [k for k, _, _ in found.truth.get(name, []) if k >= len(labels)]:
                    raise InputError(f"class {odd[0]} is none of the {len(labels)} of {options.year}; see --year")
                longest = 0.0
                for view, path in views.items():
                    rows, duration, _ = of_video(model, path)
                    bank.write_view(options.out, name, view, rows)
                    longest = max(longest, duration)
                split = bank.split_of(users.index(name.partition("_")[0]) + 1)
                spans = tuple(found.truth.get(name, []))
                entries.append(bank.Entry(name, split, longest, tuple(views), spans))
            except (OSError, ValueError) as error:
                failed.append((name, one_line(error)))
            bar(i + 1, len(found.videos), name)
    if not entries:
        raise InputError(
            f"{options.input}: no drive could be read{f'; {failed[0][0]}: {failed[0][1]}' if failed else ''}"
        )
    bank.write_index(options.out, labels, entries)
    made = shell.counted(len(entries), "drive")
    screen.print(f"{options.out}: {made}; now: percepta train driver --data {options.out}")
    return shell.print_failed(screen, failed)


def _encoder() -> Any:
    from percepta import pretrained
    from percepta.systems.driver import PRESETS
    from percepta.systems.driver.task import PRETRAINED, build

    model = build(PRESETS["small"]).eval()
    pretrained.fill(model, PRETRAINED)
    return model


@dataclass(frozen=True)
class Evaluate(general.Evaluate):
    """Options of an evaluation; with --predictions, of a submission."""

    data: Path | None = None
    """A bank of drives; left out: the toy world."""
    predictions: Path | None = None
    """Score this submission (lines "video_id class start end") instead of a network."""
    truth: Path | None = None
    """Tables of the drives that the submission is about: a table or a folder with them."""
    video_ids: Path | None = None
    """The challenge's video_ids.csv."""


def evaluate(options: Evaluate, screen: Console) -> int:
    """Scores a submission, or a network on a bank."""
    if options.predictions is None:
        if options.truth is not None or options.video_ids is not None:
            raise InputError("--truth and --video-ids belong to --predictions; a network is evaluated on --data")
        return general.evaluate_network("driver", options, screen)
    if options.truth is None or options.video_ids is None:
        raise InputError("--predictions needs --truth, the tables, and --video-ids")
    from percepta.datasets import aicity, aicity_drives
    from percepta.files import write_atomically
    from percepta.metrics import driver as metrics

    ids = {number: names[0].recording for number, names in aicity.read_video_ids(options.video_ids).items()}
    spans, problems = aicity_drives.tables(options.truth)
    known = aicity.truth(spans)
    truth = [metrics.Activity(ids[n], k, a, b) for n in ids for k, a, b in known.get(ids[n], [])]
    if not truth:
        raise InputError(f"{options.truth}: no spans of the drives of {options.video_ids}")
    rows = aicity.read_submission(options.predictions)
    if not rows:
        raise InputError(f"{options.predictions}: no line")
    for text, count in aicity.odd_rows(rows, ids, len(aicity.LABELS_2022)).items():
        screen.print(f"[yellow]note:[/] {count} of {len(rows)} lines: {text}", soft_wrap=True)
    found = [metrics.Activity(ids.get(n, f"unknown {n}"), k, a, b) for n, k, a, b in rows]
    values = {"overlap score": metrics.overlap_score(found, truth), "F1": metrics.f1(found, truth)}
    for problem in problems:
        screen.print(f"[yellow]left out[/] {escape(str(problem))}", soft_wrap=True)
    score, f1 = values["overlap score"], values["F1"]
    screen.print(f"overlap score {score:.4f}, F1 {f1:.4f}, {shell.counted(len(truth), 'span')}")
    screen.print(f"{write_atomically(options.out / 'metrics.json', json.dumps(values, indent=1) + chr(10))}")
    return 0


COMMANDS = {
    "predict": (Predict, predict), "evaluate": (Evaluate, evaluate), "drives": (MakeDrives, drives),
    "features": (Features, features),
}  # fmt: skip
