"""`percepta planes predict FOLDER`: a walk of posed pictures into planes, picture by picture, and one scene.
`percepta planes keep FOLDER`: pairs to train on, rendered or taken from a recording once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.markup import escape

from percepta import shell
from percepta.errors import InputError, MissingFileError
from percepta.systems.planes import MAX_PLANES, PRESETS, SCENE_SCORE_THRESHOLD, SCORE_THRESHOLD

MAX_PICTURES = 24  # on the page


@dataclass(frozen=True)
class Predict(shell.Which):
    """Planes of a walk: a drawing of each key frame, and the scene as GLB, PLY, JSON and floor plan."""

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")] = tyro.MISSING
    """Posed pictures: COLMAP, color/ with pose/ and intrinsics.txt, 7-Scenes or TUM RGB-D (depth is not used)."""
    out: Path = Path("out/planes")
    """Folder of what is written."""
    limit: int | None = None
    """Take no more than so many pictures."""
    max_sources: int = 2
    """How many earlier pictures help each key frame."""
    baseline_m: tuple[float, float] | None = None
    """Distance between key frames, shortest and longest, in metres. Left out: as the model was trained."""
    score_threshold: float = SCORE_THRESHOLD
    """Lowest score of a plane of a key frame, 0..1."""
    max_planes: int = MAX_PLANES
    """Most planes of a key frame."""
    scene_score_threshold: float = SCENE_SCORE_THRESHOLD
    """Lowest score of a plane that joins the scene, 0..1."""


def predict(options: Predict, screen: Console) -> int:
    """Goes through the pictures in order; 1 where no two of them could be compared."""
    if not options.folder.is_dir():
        raise MissingFileError(f"{options.folder}: no such folder; planes need pictures with their poses")
    from percepta.predictions import entry
    from percepta.report import Gallery, Page
    from percepta.systems.planes.data import posed_pictures, poses_are_metric, view_of
    from percepta.systems.planes.demo import surface_table

    begin = shell.check_out(options.out, screen, [options.folder])
    posed = posed_pictures(options.folder, options.limit)
    session = shell.load("planes", options).session(
        max_sources=options.max_sources,
        baseline_m=options.baseline_m,
        score_threshold=options.score_threshold,
        max_planes=options.max_planes,
        scene_score_threshold=options.scene_score_threshold,
    )
    begin()
    drawn, rows = [], []
    with shell.progress_bar(screen, f"planes: {shell.counted(len(posed), 'picture')}") as bar:
        for number, one in enumerate(posed):
            result = session.step(view_of(one))
            if result is not None:
                written = result.save(options.out / f"{one.path.stem}.png")
                rows.append(entry(str(one.path), result, written, written.with_suffix(".json")))
                drawn.append((result.draw(), f"{one.path.name}: {result.text}"))
            bar(number + 1, len(posed), one.path.name)
    if not drawn:
        low, high = session.baseline_m
        screen.print(
            f"of {len(posed)} pictures no two are {low} to {2 * high} m apart and overlap: are the poses in metres? "
            "give --baseline-m",
            soft_wrap=True,
        )
        return 1
    scene = replace(session.scene(), metric=poses_are_metric(options.folder))
    for name in ("scene.glb", "scene.ply", "scene.json", "plan.png"):
        scene.save(options.out / name)
    rows.append({"source": str(options.folder), "drawing": "plan.png", "file": "scene.json", "text": scene.text})
    shell.write_predictions(options.out, "planes", scene.weights, rows)
    page = Page(f"Planes of {options.folder.resolve().name}").add(
        Gallery([(scene.draw(), f"{len(scene.surfaces)} surfaces from above")]),
        surface_table(scene),
        Gallery(drawn[:: -(-len(drawn) // MAX_PICTURES)]),
    )
    written = page.write(options.out / "report.html")
    screen.print(escape(f"{scene.text}, from {len(drawn)} key frames: {written}"), soft_wrap=True)
    return 0


@dataclass(frozen=True)
class Keep:
    """Keeps training pairs as arrays, for `percepta train planes --data` of the folder or of one that holds several."""

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")] = tyro.MISSING
    """Where to; what pairs it holds are replaced."""
    preset: str = "small"
    """Whose picture size, rooms and baselines."""
    data: Path | None = None
    """A recording with depth, or annotated scenes. Left out: synthetic rooms (two to three seconds a room)."""
    split: str = "train"
    """Which part of it."""
    rooms: int | None = None
    """How many synthetic rooms. Left out: as the preset has."""
    min_baselines_m: tuple[float, ...] = ()
    """Shortest distances between the cameras of a recording's pairs: each frame gives a pair for each of them."""
    align_poses: bool = False
    """Turn a recording's relative poses until the pictures fit by the sensor's depth."""
    part: tuple[int, int] = (1, 1)
    """I N: only the I-th of N parts, so that N processes share the work; give each a folder of its own. Parts of
    synthetic rooms are whole rooms."""


def keep(options: Keep, screen: Console) -> int:
    """Writes the pairs."""
    from percepta.systems.planes import data, kept
    from percepta.systems.planes.world import Rooms, RoomsPart

    if options.preset not in PRESETS:
        raise InputError(f"no preset {options.preset!r} of planes; there are {', '.join(PRESETS)}")
    number, count = options.part
    if not 1 <= number <= count:
        raise InputError(f"--part is I N with I from 1 to N, got {number} {count}")
    config = PRESETS[options.preset]
    config = replace(config, rooms=config.rooms if options.rooms is None else options.rooms)
    source = data.source(config, options.split, options.data)
    if options.min_baselines_m or options.align_poses:
        if not isinstance(source, data.RecordedPairs):
            raise InputError("--min-baselines-m and --align-poses are for recordings; give one with --data")
        source = replace(source, align_poses=options.align_poses)
    if options.min_baselines_m and isinstance(source, data.RecordedPairs):
        chosen: set[tuple[int, int, int]] = set()
        for shortest in options.min_baselines_m:
            nearest = replace(config, baseline_m=(shortest, config.baseline_m[1]))
            found = data.source(nearest, options.split, options.data)
            chosen.update(found.chosen if isinstance(found, data.RecordedPairs) else ())
        source = replace(source, chosen=tuple(sorted(chosen)))
    part = (number - 1, count)
    if isinstance(source, Rooms):
        source, part = RoomsPart(source, *part), (0, 1)
    with shell.progress_bar(screen, "pairs") as bar:
        kept.write(source, options.folder, lambda done, of: bar(done, of, ""), part)
    screen.print(escape(f"{len(range(part[0], len(source), part[1]))} pairs: {options.folder}"), soft_wrap=True)
    return 0


COMMANDS = {"predict": (Predict, predict), "keep": (Keep, keep)}
