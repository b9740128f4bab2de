"""`percepta predict online3d SOURCE`: a recording frame by frame, or a scan at once, into a labelled cloud."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from rich.console import Console
from rich.markup import escape

from percepta import shell
from percepta.errors import InputError

if TYPE_CHECKING:
    from percepta.datasets.posed import Recording
    from percepta.systems.online3d.cloud import Points
    from percepta.systems.online3d.online import Online
    from percepta.systems.online3d.predict import Online3d


@dataclass(frozen=True)
class Predict(shell.Which):
    """Labels and instances of a room: room.ply, room.json (instances), room.png and room.html."""

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")] = tyro.MISSING
    """A folder with a recording (see `percepta data online3d check`), or a scan (.ply, .npz)."""
    out: Path = Path("out/online3d")
    """Folder of what is written."""
    stride: int = 1
    """Take every n-th frame."""
    size: tuple[int, int] = (320, 240)
    """Width and height that frames are brought to."""
    mode: Literal["paper", "exact", "full"] = "paper"
    """What a frame computes: the published rule, all that can change, or everything."""
    up: Literal["z", "camera"] | None = None
    """What is up in the world of the poses: z, or what is up in the first frame. Left out: by the layout."""
    film: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Also room.mp4: how the map grows."""
    live: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Show the map in the browser while it grows (extra viz)."""


def predict(options: Predict, screen: Console) -> int:
    """`percepta predict online3d`."""
    from percepta.datasets.posed import Recording
    from percepta.predictions import entry
    from percepta.report import Page
    from percepta.systems.online3d.page import result_blocks, session_blocks

    begin = shell.check_out(options.out, screen, [options.source])
    source = open_source(options.source)
    system: Online3d = shell.load("online3d", options)
    begin()
    if isinstance(source, Recording):
        session, text = _streamed(system, source, options, screen)
        blocks = session_blocks(session)
        result = session.result(update_instances=False)
    else:
        result, text = system.predict(source), f"{len(source.xyz):,} points at once"
        blocks = result_blocks(result)
    written = result.save(options.out / "room.png")
    row = entry(str(options.source), result, options.out / "room.png", written)
    shell.write_predictions(options.out, "online3d", result.weights, [row])
    page = Page(f"{options.source.resolve().name}, labelled").add(*blocks).write(options.out / "room.html")
    screen.print(escape(f"{len(result.instances())} instances, {text}: {page}"), soft_wrap=True)
    return 0


def open_source(path: Path) -> Recording | Points:
    """A file with a scan, a folder with a recording, or a folder with one scan.

    Raises:
        MissingFileError: no such file or folder.
        InputError: nothing that is known, or several scans.
    """
    from percepta.datasets import layouts
    from percepta.datasets.posed import Recording
    from percepta.datasets.recordings import open_recording
    from percepta.datasets.scannet import LabelledScan
    from percepta.systems.online3d.cloud import open_cloud
    from percepta.systems.online3d.data import files_in

    if not path.is_dir():
        return open_cloud(path)
    recordings, scans = layouts.readers(Recording), layouts.readers(LabelledScan)
    if any(one.is_one(path) for one in recordings) or not any(one.is_one(path) for one in scans):
        return open_recording(path)
    files = list(files_in(path).values())
    if len(files) > 1:
        raise InputError(f"{path}: {len(files)} scans; name one of them, such as {files[0].name}")
    return open_cloud(files[0])


def _streamed(system: Online3d, recording: Recording, options: Predict, screen: Console) -> tuple[Online, str]:
    """The session at the end, and what happened on the way."""
    from percepta.systems.online3d.live import Live, film
    from percepta.systems.online3d.result import label_colours, slanted

    session = system.session(mode=options.mode, up=options.up or recording.up)
    length = -(-len(recording) // options.stride)
    taken = left_out = active = voxels = 0
    spent = 0.0
    with ExitStack() as stack:
        bar = stack.enter_context(shell.progress_bar(screen, f"online3d: {length} frames"))
        live = Live() if options.live else None
        if live is not None:
            stack.callback(live.close)
        shots = []
        for number, frame in enumerate(recording.frames(options.size, options.stride)):
            stats = session.step(frame)
            taken, left_out = taken + stats.taken, left_out + (not stats.taken)
            active, voxels, spent = active + stats.active, voxels + stats.voxels, spent + sum(stats.ms.values())
            if live is not None or (options.film and number % 3 == 0):
                cloud = session.result(update_instances=False)
                if live is not None:
                    live.show(cloud)
                if options.film and number % 3 == 0 and len(cloud.xyz):
                    shots.append(slanted(cloud.xyz, label_colours()[cloud.label]))
            bar(number + 1, length, f"{stats.voxels:,} voxels, {stats.active:,} anew {stats.reason}")
        if shots:
            options.out.mkdir(parents=True, exist_ok=True)
            film(options.out / "room.mp4", shots)
    if not taken:
        raise InputError(f"{options.source}: none of its {left_out} frames could be taken; see percepta data check")
    text = f"{taken} frames ({left_out} left out), {1000 * taken / spent:.1f} a second, {active / voxels:.1%} anew"
    return session, text


COMMANDS = {"predict": (Predict, predict)}
