"""`percepta predict online3d SOURCE`: a recording frame by frame, or a scan at once, into a labelled cloud."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console
from rich.markup import escape

from percepta import shell
from percepta.errors import InputError
from percepta.systems import TABLE


@dataclass(frozen=True)
class Predict(shell.Which):
    """Labels and instances of a room: room.ply, room.json (instances), room.png and room.html."""

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")] = tyro.MISSING
    """A recording (7-Scenes, ScanNet, SceneNN, or color/, depth/, pose/ and intrinsics.txt), or a scan (.ply, .npz)."""
    out: Path = Path("out/online3d")
    """Folder of what is written."""
    every: int = 1
    """Take every n-th frame."""
    size: tuple[int, int] = (320, 240)
    """Width and height that frames are brought to."""
    mode: Literal["paper", "exact", "full"] = "paper"
    """What a frame computes: the published rule, all that can change, or everything."""
    up: Literal["z", "camera"] | None = None
    """Where up is: z, or what the first camera takes for it. Left out: by the layout."""
    film: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Also room.mp4: how the map grows."""
    live: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Show the map in the browser while it grows (extra viz)."""


def predict(words: list[str], screen: Console) -> int:
    """`percepta predict online3d`."""
    options = shell.parse(Predict, words, "percepta predict online3d", f"online3d: {TABLE['online3d']}")
    from percepta import report
    from percepta.systems.online3d import check

    source: Any = check.source(options.source)
    system = shell.load("online3d", options)
    if hasattr(source, "xyz"):
        result, text = system.predict(source), f"{len(source.xyz):,} points at once"
        items = result.page()
    else:
        session, text = _streamed(system, source, options, screen)
        items = session.page()
        result = session.result(look=False)
    result.save(options.out / "room.png")
    page = report.Page(f"{options.source.resolve().name}, labelled").extend(items)
    shown = page.write(options.out / "room.html")
    screen.print(escape(f"{len(result.instances())} instances, {text}: {shown}"), soft_wrap=True)
    return 0


def _streamed(system: Any, recording: Any, options: Predict, screen: Console) -> tuple[Any, str]:
    """The session at the end, and what happened on the way."""
    from percepta.systems.online3d import check
    from percepta.systems.online3d.shown import Live, film, label_colours, slanted

    up = options.up or ("camera" if check.layout(options.source) == "7-Scenes" else "z")
    session = system.session(mode=options.mode, up=up)
    length = -(-len(recording) // options.every)
    taken = left_out = active = voxels = 0
    spent = 0.0
    with ExitStack() as stack:
        bar = stack.enter_context(shell.progress_bar(screen, f"online3d: {length} frames"))
        live = Live() if options.live else None
        if live is not None:
            stack.callback(live.close)
        shots = []
        for number, frame in enumerate(recording.frames(options.size, options.every)):
            stats = session.step(frame)
            taken, left_out = taken + stats.taken, left_out + (not stats.taken)
            active, voxels, spent = active + stats.active, voxels + stats.voxels, spent + sum(stats.ms.values())
            if live is not None or (options.film and number % 3 == 0):
                cloud = session.result(look=False)
                if live is not None:
                    live.show(cloud)
                if options.film and number % 3 == 0 and len(cloud.xyz):
                    shots.append(slanted(cloud.xyz, label_colours()[cloud.label]))
            bar(number + 1, length, f"{stats.voxels:,} voxels, {stats.active:,} anew {stats.why}")
        if shots:
            options.out.mkdir(parents=True, exist_ok=True)
            film(options.out / "room.mp4", shots)
    if not taken:
        raise InputError(f"{options.source}: none of its {left_out} frames could be taken; see percepta data check")
    text = f"{taken} frames ({left_out} left out), {1000 * taken / spent:.1f} a second, {active / voxels:.1%} anew"
    return session, text
