"""`percepta predict planes FOLDER`: a walk of posed pictures into planes, picture by picture, and one scene.
`percepta keep planes FOLDER`: pairs to train on, rendered or taken from a recording once.
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
from percepta.systems import TABLE

SHOWN = 24  # pictures on the page


@dataclass(frozen=True)
class Predict(shell.Which):
    """Planes of a walk: a drawing of each key frame, and the scene as GLB, PLY, JSON and floor plan."""

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")] = tyro.MISSING
    """Posed pictures: COLMAP, color/ with pose/ and intrinsics.txt, 7-Scenes or TUM RGB-D (depth is not looked at)."""
    out: Path = Path("out/planes")
    """Folder of what is written."""
    limit: int | None = None
    """Take no more than so many pictures."""
    sources: int = 2
    """How many earlier pictures help each key frame."""
    baseline_m: tuple[float, float] | None = None
    """Distance between key frames, shortest and longest, in metres. Left out: as the model was trained."""


def predict(words: list[str], screen: Console) -> int:
    """Goes through the pictures in order; 1 where no two of them could be compared."""
    options = shell.parse(Predict, words, "percepta predict planes", f"planes: {TABLE['planes']}")
    if not options.folder.is_dir():
        raise MissingFileError(f"{options.folder}: no such folder; planes need pictures with their poses")
    from percepta import report
    from percepta.systems.planes.data import views_of
    from percepta.systems.planes.task import View

    posed = views_of(options.folder, options.limit)
    session = shell.load("planes", options).session(sources=options.sources, baseline_m=options.baseline_m)
    drawn = []
    with shell.progress_bar(screen, f"planes: {len(posed)} pictures") as bar:
        for number, one in enumerate(posed):
            result = session.step(View.of(one))
            if result is not None:
                result.save(options.out / f"{one.path.stem}.png")
                drawn.append((result.draw(), f"{one.path.name}: {result.message}"))
            bar(number + 1, len(posed), one.path.name)
    if not drawn:
        low, high = session.baseline_m
        screen.print(
            f"of {len(posed)} pictures no two are {low} to {2 * high} m apart and overlap: are the poses in metres? "
            "give --baseline-m",
            soft_wrap=True,
        )
        return 1
    scene = session.scene()
    for name in ("scene.glb", "scene.ply", "scene.json", "plan.png"):
        scene.save(options.out / name)
    page = report.Page(f"Planes of {options.folder.resolve().name}")
    rows = [[surface.label, round(surface.area_m2, 2), surface.seen] for surface in scene.surfaces]
    page.extend([("pictures", [(scene.draw(), f"{len(scene.surfaces)} surfaces from above")])])
    page.extend([("table", ["class", "area m²", "seen in"], rows), ("pictures", drawn[:: -(-len(drawn) // SHOWN)])])
    shown = page.write(options.out / "report.html")
    area = sum(surface.area_m2 for surface in scene.surfaces)
    screen.print(
        escape(f"{len(scene.surfaces)} surfaces, {area:.1f} m², from {len(drawn)} key frames: {shown}"), soft_wrap=True
    )
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
    apart_m: tuple[float, ...] = ()
    """Shortest distances between the cameras of a recording's pairs: each frame gives a pair for each of them."""
    mend: bool = False
    """Turn a recording's relative poses until the pictures fit by the sensor's depth."""
    part: tuple[int, int] = (1, 1)
    """I N: only the I-th of N parts, so that N processes share the work; give each a folder of its own. Parts of
    synthetic rooms are whole rooms."""


def keep(words: list[str], screen: Console) -> int:
    """Writes the pairs."""
    options = shell.parse(Keep, words, "percepta keep planes", f"planes: {TABLE['planes']}")
    from percepta.systems.planes import PRESETS, data

    if options.preset not in PRESETS:
        raise InputError(f"no preset {options.preset!r} of planes; there are {', '.join(PRESETS)}")
    number, count = options.part
    if not 1 <= number <= count:
        raise InputError(f"--part is I N with I from 1 to N, got {number} {count}")
    config = PRESETS[options.preset]
    config = replace(config, rooms=config.rooms if options.rooms is None else options.rooms)
    source = data.source(config, options.split, options.data)
    if options.apart_m or options.mend:
        if not isinstance(source, data.Frames):
            raise InputError("--apart-m and --mend are for recordings; give one with --data")
        source = replace(source, mend=options.mend)
    if options.apart_m and isinstance(source, data.Frames):
        chosen: set[tuple[int, int]] = set()
        for shortest in options.apart_m:
            nearest = replace(config, baseline_m=(shortest, config.baseline_m[1]))
            found = data.source(nearest, options.split, options.data)
            chosen.update(found.chosen if isinstance(found, data.Frames) else ())
        source = replace(source, chosen=tuple(sorted(chosen)))
    part = (number - 1, count)
    if isinstance(source, data.Rooms):
        source, part = data.EveryRoom(source, *part), (0, 1)
    with shell.progress_bar(screen, "pairs") as bar:
        data.write(source, options.folder, lambda done, of: bar(done, of, ""), part)
    screen.print(escape(f"{len(range(part[0], len(source), part[1]))} pairs: {options.folder}"), soft_wrap=True)
    return 0
