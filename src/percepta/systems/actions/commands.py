"""Verbs of temporal action localisation.

percepta predict actions VIDEO...           segments as timeline, JSON, CSV and subtitles, and a page of all
percepta actions features FOLDER --out DIR  features of a folder of videos with annotations, once; then train on DIR
percepta actions bank FOLDER... --out DIR   rows of short clips, from which training joins untrimmed videos
percepta evaluate actions --predictions F --truth F     scores anybody's results of ActivityNet or THUMOS-14
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console
from rich.markup import escape

from percepta import __main__ as general
from percepta import shell
from percepta.errors import InputError, MissingFileError, one_line


@dataclass(frozen=True)
class Predict(shell.Which):
    """When what happens in videos: a timeline of each, with JSON, CSV and subtitles beside it."""

    input: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="VIDEO|FOLDER ...")] = ()
    """Videos, or folders of videos; with networks that stand on feature files: those."""
    out: Path = Path("out/actions")
    """Folder of what is written."""
    score_threshold: float = 0.2
    """Least score of what is shown."""
    cache: bool = True
    """Keep features of videos by content in ~/.cache/percepta/actions; --no-cache does not."""


def predict(options: Predict, screen: Console) -> int:
    """Answers for every video; 1 where some failed."""
    from percepta.datasets.untrimmed import FEATURES, VIDEOS
    from percepta.files import listed
    from percepta.report import Gallery, Page
    from percepta.report import Table as Rows
    from percepta.systems.actions.features import default_cache

    begin = shell.check_out(options.out, screen, options.input)
    system = shell.load("actions", options)
    begin()
    endings = set(FEATURES if system.config.features == "file" else VIDEOS)
    files: list[Path] = []
    for path in options.input:
        if not path.exists():
            raise MissingFileError(f"{path}: no such file or folder")
        files += sorted(listed(path, recursive=True, endings=endings)) if path.is_dir() else [path]
    if not files:
        raise InputError(f"no videos: expected {', '.join(sorted(endings))}; give a video or a folder")
    failed, drawn, rows = [], [], []
    with shell.progress_bar(screen, f"actions: {shell.counted(len(files), 'video')}") as bar:
        for i, path in enumerate(files):
            try:
                result = system.predict(
                    path, score_threshold=options.score_threshold, cache=default_cache() if options.cache else None
                )
                where = result.save(options.out / f"{path.stem}.png")
                screen.print(escape(f"{where}: {result.text}"), soft_wrap=True)
                drawn.append((result.draw(), path.name))
                some = result.shown
                rows += [
                    [path.name, f"{s:.2f}", f"{e:.2f}", result.labels[k], f"{p:.2f}"]
                    for (s, e), p, k in zip(some.span, some.score, some.label, strict=True)
                ]
            except (OSError, ValueError) as error:
                if len(files) == 1:
                    raise
                failed.append((path, one_line(error)))
            bar(i + 1, len(files), path.name)
    page = Page("Actions").add(Gallery(drawn), Rows(["video", "start, s", "end, s", "action", "score"], rows))
    screen.print(f"{page.write(options.out / 'report.html')}")
    return shell.print_failed(screen, failed)


@dataclass(frozen=True)
class Features(shell.Which):
    """Looks at every video of a folder with annotations once, and writes features that training reads."""

    input: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")] = tyro.MISSING
    """Videos with annotations.json, annotations.csv or .eaf files beside them."""
    out: Path = Path("out/features")
    """Folder of features; it gets the annotations too."""


def features(options: Features, screen: Console) -> int:
    """Writes features; 1 where some videos failed."""
    import io

    import numpy as np

    from percepta.datasets import layouts
    from percepta.datasets.untrimmed import Untrimmed
    from percepta.files import write_atomically
    from percepta.systems.actions.features import assemble, default_cache, of_video

    system = shell.load("actions", options)
    if system.config.features == "file":
        raise InputError("this network takes features of other networks; choose the preset small")
    found = layouts.find_one(options.input, Untrimmed)
    data = found.read(found.root)
    database: dict[str, Any] = {}
    failed = []
    with shell.progress_bar(screen, f"features of {shell.counted(len(data.recordings), 'video')}") as bar:
        for i, one in enumerate(data.recordings):
            try:
                if one.video is None:
                    raise InputError(f"no video of this name in {options.input}")
                rows, duration = of_video(system.model, one.video, default_cache())
                content = io.BytesIO()
                np.save(content, assemble(rows).numpy().T.astype(np.float16))
                write_atomically(options.out / f"{one.name}.npy", content.getvalue())
                names = {"train": "training", "val": "validation", "test": "testing"}
                database[one.name] = {
                    "subset": names.get(one.split, ""), "duration": duration,
                    "annotations": [
                        {"segment": [float(s), float(e)], "label": label}
                        for (s, e), label in zip(one.spans, one.labels, strict=True)
                    ],
                }  # fmt: skip
            except (OSError, ValueError) as error:
                failed.append((one.name, one_line(error)))
            bar(i + 1, len(data.recordings), one.name)
    if not database:
        raise InputError(f"{options.input}: no video could be read; {failed[0][0]}: {failed[0][1]}")
    config = system.config
    timing = {"fps": config.fps, "stride": config.stride, "window": config.window, "made_by": "percepta actions"}
    write_atomically(options.out / "features.json", json.dumps(timing) + "\n")
    write_atomically(options.out / "annotations.json", json.dumps({"database": database}, indent=1) + "\n")
    made = shell.counted(len(database), "video")
    screen.print(f"{options.out}: {made}; now: percepta train actions --data {options.out}")
    return shell.print_failed(screen, failed)


@dataclass(frozen=True)
class MakeBank:
    """Looks at every frame of short clips once, for training on videos that are joined from them."""

    input: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER ...")] = ()
    """Folders of strips (UCF-101, Weizmann) and of films without action (DAVIS)."""
    out: Path = Path("out/bank")
    """Folder of the bank."""


def bank(options: MakeBank, screen: Console) -> int:
    """Writes the bank; goes on where it was stopped."""
    from percepta import pretrained
    from percepta.systems.actions import PRESETS
    from percepta.systems.actions.clips import write_bank
    from percepta.systems.actions.task import PRETRAINED, build

    model = build(PRESETS["small"]).eval()
    pretrained.fill(model, PRETRAINED)
    with shell.progress_bar(screen, "clips") as bar:
        clips, frames = write_bank(model, options.input, options.out, lambda done, total: bar(done, total, ""))
    screen.print(f"{options.out}: {clips} clips, {frames} frames")
    return 0


@dataclass(frozen=True)
class Evaluate(general.Evaluate):
    """Options of an evaluation; with --predictions, of a file of results."""

    predictions: Path | None = None
    """Score this file of results ({"results": {video: [{label, segment, score}]}}) instead of a network."""
    truth: Path | None = None
    """The ground truth that the results are about, as published."""
    subset: str = "validation"
    """Which subset of the truth; "" for all."""
    metric: Literal["activitynet", "thumos14"] = "activitynet"
    """Overlaps .5:.05:.95, or .3:.1:.7."""
    blocked: Path | None = None
    """A file with names of videos that are left out, one a line."""


def evaluate(options: Evaluate, screen: Console) -> int:
    """Scores a file of results, or a network on data."""
    if options.predictions is None:
        if options.truth is not None:
            raise InputError("--truth belongs to --predictions; a network is evaluated on --data")
        return general.evaluate_network("actions", options, screen)
    if options.truth is None:
        raise InputError("--predictions needs --truth, the file with the ground truth")
    from percepta.files import read_lines, write_atomically
    from percepta.metrics import temporal
    from percepta.systems.actions.evaluate import read_results, read_truth, scored

    blocked = {line.strip() for line in read_lines(options.blocked)} if options.blocked else set()
    truth = read_truth(options.truth, options.subset).without(blocked)
    found = read_results(options.predictions).without(blocked)
    thresholds = temporal.ACTIVITYNET if options.metric == "activitynet" else temporal.THUMOS
    metrics = scored(found, truth, thresholds)
    shell.print_metrics(screen, f"{options.predictions} against {options.truth}", metrics)
    content = {name: asdict(metric) for name, metric in metrics.items()}
    screen.print(f"{write_atomically(options.out / 'metrics.json', json.dumps(content, indent=1) + chr(10))}")
    return 0


COMMANDS = {
    "predict": (Predict, predict), "evaluate": (Evaluate, evaluate), "features": (Features, features),
    "bank": (MakeBank, bank),
}  # fmt: skip
