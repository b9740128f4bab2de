"""`percepta predict planes FOLDER`: a walk of posed pictures into planes, picture by picture, and one scene."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.markup import escape

from percepta import shell
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
        raise FileNotFoundError(f"{options.folder}: no such folder; planes need pictures with their poses")
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
